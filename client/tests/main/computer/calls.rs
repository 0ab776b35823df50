//! What becomes of calls that succeed together, fail, or are none.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::computer::talk::{
    PICTURE, Talk, computer_call, desktop, earlier, host_tool, member, plans, respond, text,
};
use crate::peer::{Peer, answer, refused, told};

const SKIPPED: &str = "Not executed: an earlier computer action in this turn failed.";

fn anthropic(peer: &Peer, args: &[&str]) -> Talk {
    Talk::start(&mut peer.command(&[&["computer", "--dialect", "anthropic"], args].concat()))
}

fn openai(peer: &Peer) -> Talk {
    Talk::start(&mut peer.command(&["computer", "--dialect", "openai"]))
}

#[test]
fn after_a_computer_action_that_failed_the_others_of_the_turn_are_skipped_and_host_tools_are_not() {
    let peer = desktop(Some(("mouse.click", "another window is there now")));
    for call in [member, earlier] {
        let before = peer.frames().len();
        let message = json!({"role": "assistant", "type": "message", "content": [
            {"type": "thinking", "thinking": "...", "signature": "x"},
            {"type": "text", "text": "I click."},
            call("a", "mouse_move", json!({"coordinate": [1, 2]})),
            call("b", "left_click", json!({})),
            host_tool("c", "fs_read", json!({"path": "/a", "reason": "look"})),
            call("d", "screenshot", json!({})),
        ]});
        let results = anthropic(&peer, &[]).ask(&message);
        let ids: Vec<_> =
            results.as_array().unwrap().iter().map(|result| result["tool_use_id"].clone()).collect();
        assert_eq!(ids, ["a", "b", "c", "d"]);
        assert_eq!(text(&results[0]), "OK");
        assert_eq!(results[1]["is_error"], true);
        assert!(text(&results[1]).contains("window_changed: another window is there now"), "{}", results[1]);
        assert_eq!((text(&results[2]), results[2].get("is_error")), ("{}", None));
        assert_eq!((text(&results[3]), &results[3]["is_error"]), (SKIPPED, &json!(true)));
        let sent: Vec<_> =
            plans(&peer.frames()[before..]).concat().into_iter().map(|(name, _)| name).collect();
        assert_eq!(sent, ["monitor.list", "mouse.move", "mouse.click", "fs.read"]);
    }
}

#[test]
fn a_call_of_a_host_tool_keeps_every_byte_and_its_pictures_are_pictures() {
    let output = json!({"picture": {"media_type": "image/png", "data": PICTURE}, "n": 1});
    let line = answer(&json!([{"action": "x.y", "status": "ok", "output": output}]), &Value::Null);
    let peer = Peer::always(line);
    let call = r#"{"type":"tool_use","id":"t","name":"monitor_some_thing","input":{"a":1.50,"b":{ "c":"d  e"},"reason":"see"}}"#;
    let ran = peer.llmsh_with(&["computer", "--dialect", "anthropic"], call);
    let result: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(
        result["content"][0]["text"],
        r#"{"picture":{"media_type":"image/png","data":"shown"},"n":1}"#
    );
    assert_eq!(result["content"][1]["source"]["data"], PICTURE);
    let frame = &peer.lines()[0];
    let action = r#"{"action":"monitor.some_thing","params":{"a":1.50,"b":{ "c":"d  e"}},"reason":"see"}"#;
    assert!(frame.contains(action), "{frame}");
    let call = json!({"type": "function_call", "call_id": "c", "name": "monitor_some_thing", "arguments": "{\"reason\":\"see\"}"});
    let items = openai(&peer).ask(&call);
    let parts = json!([
        {"type": "input_text", "text": r#"{"picture":{"media_type":"image/png","data":"shown"},"n":1}"#},
        {"type": "input_image", "image_url": format!("data:image/png;base64,{PICTURE}")},
    ]);
    assert_eq!(items, json!([{"type": "function_call_output", "call_id": "c", "output": parts}]));
}

#[test]
fn a_host_tool_that_failed_says_why_and_what_it_delivered() {
    let results = json!([{"action": "exec.run", "status": "failed", "output": {"exit_code": 1},
        "error": {"code": "exec_failed", "message": "it exited with 1"}}]);
    let peer = Peer::always(answer(&results, &Value::Null));
    let result = anthropic(&peer, &[]).ask(&host_tool("t", "exec_run", json!({"reason": "x"})));
    assert_eq!(result["is_error"], true);
    assert_eq!(result["content"][0]["text"], "exec_failed: it exited with 1");
    assert_eq!(result["content"][1]["text"], r#"{"exit_code":1}"#);
    let items = openai(&peer)
        .ask(&json!({"type": "function_call", "call_id": "c", "name": "exec_run", "arguments": "{}"}));
    assert_eq!(items[0]["output"], "failed\nexec_failed: it exited with 1\n{\"exit_code\":1}");
}

#[test]
fn what_the_host_refuses_is_told_with_its_code() {
    let peer = Peer::always(refused("policy_denied"));
    let result = anthropic(&peer, &[]).ask(&member("t", "left_click", json!({})));
    assert_eq!(
        (text(&result), &result["is_error"]),
        ("policy_denied at $.actions[0]: because", &json!(true))
    );
    let peer = Peer::always(refused("unknown_action"));
    let result = anthropic(&peer, &[]).ask(&member("t", "left_click", json!({})));
    assert!(text(&result).starts_with("unknown_action"), "{result}");
}

#[test]
fn a_batch_stops_at_the_first_failure_and_the_model_sees_the_screen_and_why() {
    let peer = desktop(Some(("mouse.click", "another window is there now")));
    let batch = json!([{"type": "type", "text": "a"}, {"type": "click", "x": 1, "y": 2}, {"type": "wait"}, {"type": "move", "x": 1, "y": 2}]);
    let response = json!({"object": "response", "output": [
        {"type": "reasoning", "id": "r", "summary": []},
        computer_call("c-1", batch),
        {"type": "function_call", "call_id": "c-2", "name": "fs_read", "arguments": "{\"reason\":\"look\"}"},
        computer_call("c-3", json!([{"type": "wait"}])),
    ]});
    let items = openai(&peer).ask(&response);
    let kinds: Vec<_> = items.as_array().unwrap().iter().map(|item| item["type"].as_str().unwrap()).collect();
    let expected =
        ["computer_call_output", "message", "function_call_output", "computer_call_output", "message"];
    assert_eq!(kinds, expected);
    let words = |item: &Value| {
        assert_eq!(item["role"], "user");
        item["content"][0]["text"].as_str().unwrap().to_owned()
    };
    assert!(words(&items[1]).contains("not from the user"), "{items}");
    let why = "action 2 of 4 failed; the 2 actions after it were not executed\nwindow_changed: another window is there now";
    assert!(words(&items[1]).contains(why), "{items}");
    assert!(words(&items[4]).contains("an earlier computer_call of this response failed"), "{items}");
    let sent: Vec<_> = plans(&peer.frames()).concat().into_iter().map(|(name, _)| name).collect();
    let picture = ["monitor.wait", "monitor.capture"];
    let expected =
        [["keyboard.type", "monitor.list", "mouse.click"].as_slice(), &picture, &["fs.read"], &picture];
    assert_eq!(sent, expected.concat());
}

#[test]
fn a_computer_call_without_a_picture_is_an_error_of_the_api() {
    let peer = desktop(Some(("monitor.capture", "it went dark")));
    let response = json!([
        {"type": "function_call", "call_id": "c-1", "name": "fs_read", "arguments": "{}"},
        computer_call("c-2", json!([{"type": "click", "x": 1, "y": 2}])),
    ]);
    let error = openai(&peer).ask(&response);
    assert_eq!(
        (&error["error"]["type"], &error["error"]["code"]),
        (&json!("server_error"), &json!("no_screenshot"))
    );
    assert!(error["error"]["message"].as_str().unwrap().contains("it went dark"), "{error}");
    assert_eq!(error["items"][0]["call_id"], "c-1", "what ran before is not lost: {error}");
}

#[test]
fn a_safety_check_is_never_acknowledged_here_and_handed_on_once_somebody_did() {
    let peer = desktop(None);
    let mut talk = openai(&peer);
    let mut call = computer_call("c-1", json!([{"type": "click", "x": 1, "y": 2}]));
    let checks = json!([{"id": "s-1", "code": "malicious_instructions", "message": "look"}, {"id": "s-2"}]);
    call["pending_safety_checks"] = checks.clone();
    let function = json!({"type": "function_call", "call_id": "c-0", "name": "fs_read", "arguments": "{}"});
    for acknowledged in [json!(null), json!([]), json!([{"id": "s-1"}]), json!([{"id": "s-3"}])] {
        call["acknowledged_safety_checks"] = acknowledged;
        let error = talk.ask(&json!([function, call]));
        assert_eq!(error["error"]["code"], "safety_checks_pending", "{error}");
        assert!(error["error"]["message"].as_str().unwrap().contains("s-2"), "{error}");
    }
    assert!(peer.frames().is_empty(), "nothing of such a line is done");
    call["acknowledged_safety_checks"] = checks.clone();
    let items = talk.ask(&call);
    assert_eq!(items[0]["acknowledged_safety_checks"], checks);
}

#[test]
fn keys_that_are_held_for_a_move_that_fails_are_released() {
    let peer = desktop(Some(("mouse.move", "it is gone")));
    openai(&peer).ask(&computer_call("c", json!([{"type": "move", "x": 1, "y": 2, "keys": ["CTRL"]}])));
    let plans = plans(&peer.frames());
    let release = vec![("keyboard.up".to_owned(), json!({"keys": "CTRL"}))];
    assert_eq!((plans[1].len(), &plans[2]), (3, &release), "{plans:?}");
}

#[test]
fn a_screenshot_after_is_added_to_the_last_result_where_the_model_asked_for_none() {
    let peer = desktop(None);
    let mut talk = anthropic(&peer, &["--screenshot-after"]);
    let image =
        |result: &Value| result["content"].as_array().unwrap().iter().any(|part| part["type"] == "image");
    let results = talk.ask(&json!([
        member("a", "left_click", json!({})),
        member("b", "left_click", json!({})),
        host_tool("c", "fs_read", json!({"reason": "x"})),
    ]));
    assert_eq!(
        [image(&results[0]), image(&results[1]), image(&results[2])],
        [false, true, false],
        "{results}"
    );
    let before = peer.frames().len();
    let results =
        talk.ask(&json!([member("a", "left_click", json!({})), member("b", "screenshot", json!({}))]));
    assert_eq!(results[1]["content"].as_array().unwrap().len(), 1);
    assert_eq!(peer.frames().len() - before, 2, "a second picture is not taken");
    let results = talk
        .ask(&json!([member("a", "wait", json!({"duration": "x"})), member("b", "left_click", json!({}))]));
    assert!(!image(&results[0]) && !image(&results[1]), "{results}");
    let one = talk.ask(&earlier("a", "left_click", json!({})));
    assert!(image(&one), "{one}");
}

/// One row for each way to be wrong: the action, its input, what the answer says of it.
#[test]
fn what_no_version_of_the_api_has_is_refused_with_what_was_found_and_expected() {
    let rows = [
        ("left_click", json!({"coordinate": [1]}), "coordinate is [1], expected [x, y]"),
        ("left_click", json!({"coordinate": [1, 2.5]}), "coordinate is [1,2.5], expected [x, y]"),
        ("left_click", json!({"coordinate": "1,2"}), "coordinate is \\\"1,2\\\", expected [x, y]"),
        ("left_click", json!({"coordinate": [1, 2], "button": "right"}), "no parameter \"button\""),
        ("left_click", json!({"text": 5}), "text is 5, expected modifiers"),
        ("left_click", json!({"key": "ctrl"}), "no parameter \"key\""),
        ("left_click_drag", json!({"coordinate": [1, 2]}), "start_coordinate is missing"),
        ("mouse_move", json!({}), "coordinate is missing, expected [x, y]"),
        (
            "mouse_move",
            json!({"coordinate": [2000, 5]}),
            "(2000, 5) is outside of the screenshot, which is 2000x1250: x goes from 0 to 1999, y from 0 to 1249",
        ),
        ("mouse_move", json!({"coordinate": [-1, 5]}), "(-1, 5) is outside"),
        (
            "left_click_drag",
            json!({"start_coordinate": [1, 1], "coordinate": [0, 1250]}),
            "(0, 1250) is outside",
        ),
        ("scroll", json!({"scroll_direction": "down"}), "scroll_amount is missing"),
        ("scroll", json!({"scroll_direction": "down", "scroll_amount": 0}), "scroll_amount is 0, expected"),
        (
            "scroll",
            json!({"scroll_direction": "dwon", "scroll_amount": 1}),
            "expected up, down, left or right",
        ),
        ("zoom", json!({"region": [0, 0, 2001, 5]}), "x0 < x1 <= 2000 and y0 < y1 <= 1250"),
        ("zoom", json!({"region": [5, 5, 5, 9]}), "region is [5, 5, 5, 9]"),
        ("zoom", json!({"region": [0, 0, 1]}), "region is [0,0,1], expected [x0, y0, x1, y1]"),
        ("key", json!({"text": "a", "repeat": 101}), "repeat is 101, expected a whole number from 1 to 100"),
        ("key", json!({"text": "a", "repeat": 0}), "repeat is 0"),
        ("key", json!({}), "text is missing"),
        (
            "hold_key",
            json!({"text": "a", "duration": 301}),
            "duration is 301, expected seconds, from 0 to 300",
        ),
        ("wait", json!({"duration": -1}), "duration is -1, expected seconds"),
        ("wait", json!({"duration": 1e300}), "expected seconds, from 0 to 300"),
        ("type", json!({"text": null}), "text is missing"),
        ("launch", json!({}), "there is no computer action \"launch\""),
        ("left_click", json!([1, 2]), "the input is \"[1,2]\", expected a JSON object"),
    ];
    let peer = desktop(None);
    let mut talk = anthropic(&peer, &[]);
    for (name, input, expected) in rows {
        let result = talk.ask(&member("t", name, input.clone()));
        assert_eq!(
            (&result["is_error"], &result["toolset_name"]),
            (&json!(true), &json!("computer")),
            "{result}"
        );
        assert!(text(&result).contains(expected), "{name} {input}: {}", text(&result));
    }
    let names: Vec<_> = plans(&peer.frames()).concat().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["monitor.list"], "nothing of it was done");
    let twice = r#"{"type":"tool_use","id":"t","name":"type","toolset_name":"computer","input":{"text":"a","text":"b"}}"#;
    let ran = peer.llmsh_with(&["computer", "--dialect", "anthropic"], twice);
    assert!(ran.stdout.contains("or it stands there twice"), "{}", ran.stdout);
    let of_earlier = [
        (json!({}), "action is missing"),
        (json!({"actions": [{"action": "key"}]}), "action is missing"),
        (json!({"action": "wait", "duration": 101}), "from 0 to 100"),
    ];
    for (input, expected) in of_earlier {
        let result = talk.ask(&host_tool("t", "computer", input.clone()));
        assert!(result["is_error"] == true && text(&result).contains(expected), "{input}: {result}");
    }
    let result = talk.ask(
        &json!({"type": "tool_use", "id": "t", "name": "fs_read", "toolset_name": "browser", "input": {}}),
    );
    assert!(text(&result).contains("there is no toolset \"browser\""), "{result}");
}

#[test]
fn a_malformed_action_of_openai_is_told_with_a_picture() {
    let rows = [
        (json!({"type": "click", "x": 1}), "y is missing"),
        (json!({"type": "click", "x": 1, "y": 2, "button": "middle"}), "left, right, wheel, back or forward"),
        (
            json!({"type": "click", "x": 2560, "y": 2}),
            "(2560, 2) is outside of the screenshot, which is 2560x1600",
        ),
        (json!({"type": "drag", "path": [[1, 2]]}), "path is 1 points long"),
        (json!({"type": "scroll", "x": 1, "y": 2, "scroll_x": 0}), "scroll_y is missing"),
        (json!({"type": "keypress", "keys": "CTRL"}), "names of keys"),
        (json!({"type": "hover", "x": 1, "y": 2}), "no computer action \"hover\""),
        (json!({"x": 1}), "type is missing"),
        (json!({"type": "wait", "ms": 5}), "no parameter \"ms\""),
    ];
    let peer = desktop(None);
    let mut talk = openai(&peer);
    for (action, expected) in rows {
        let items = talk.ask(&computer_call("c", json!([action])));
        assert_eq!(items[0]["type"], "computer_call_output", "{items}");
        let words = items[1]["content"][0]["text"].as_str().unwrap();
        assert!(words.contains("action 1 of 1 failed") && words.contains(expected), "{action}: {words}");
    }
    let is_picture = |(name, _): &(String, Value)| name.starts_with("monitor.");
    assert!(plans(&peer.frames()).concat().iter().all(is_picture), "nothing of it was done");
}

#[test]
fn a_zoom_is_as_sharp_as_the_screen_and_no_larger_than_a_screenshot_may_be() {
    let peer = desktop(None);
    let mut talk = anthropic(&peer, &[]);
    talk.ask(&member("t", "zoom", json!({"region": [0, 0, 2000, 1250]})));
    talk.ask(&member("t", "zoom", json!({"region": [0, 0, 1000, 625]})));
    let plans = plans(&peer.frames());
    assert_eq!(plans[1][1].1["max_edge"], 2000);
    assert_eq!(plans[2][1].1.get("max_edge"), None);
}

#[test]
fn a_picture_that_is_too_long_for_the_api_is_taken_as_a_jpeg() {
    let peer = Peer::new(|_, frame| {
        let last = frame["actions"].as_array().unwrap().last().unwrap();
        match last["params"].get("format") {
            None => respond(frame, None).replace(PICTURE, &"A".repeat((5 << 20) + 4)),
            Some(_) => respond(frame, None).replace("image/png", "image/jpeg"),
        }
    });
    let mut talk = anthropic(&peer, &[]);
    for (name, input) in [("screenshot", json!({})), ("zoom", json!({"region": [0, 0, 2000, 1250]}))] {
        let result = talk.ask(&member("t", name, input));
        let source = json!({"type": "base64", "media_type": "image/jpeg", "data": PICTURE});
        assert_eq!(result["content"][0]["source"], source, "{name}");
    }
    let plans = plans(&peer.frames());
    let whole = json!({"width": 2000, "height": 1250, "format": "jpeg"});
    assert_eq!(plans[2], [("monitor.capture".to_owned(), whole)]);
    let space =
        json!({"width": 2000, "height": 1250, "region": {"x": 0, "y": 0, "width": 2560, "height": 1600}});
    let area = json!({"x": 0, "y": 0, "width": 2000, "height": 1250});
    let zoomed = json!({"target": {"region": area}, "space": space, "max_edge": 2000, "format": "jpeg"});
    assert_eq!(plans[4], [("monitor.capture".to_owned(), zoomed)]);
    drop(talk);
    let items = openai(&peer).ask(&computer_call("c", json!([{"type": "screenshot"}])));
    let url = items[0]["output"]["image_url"].as_str().unwrap();
    assert!(url.starts_with("data:image/png"), "OpenAI takes it");
}

#[test]
fn a_display_that_does_not_tell_what_is_drawn_is_not_waited_for() {
    let peer = Peer::new(|action, frame| match action {
        "monitor.wait" => refused("unavailable"),
        _ => respond(frame, None),
    });
    let mut talk = anthropic(&peer, &[]);
    for _ in 0..2 {
        let result = talk.ask(&member("t", "screenshot", json!({})));
        assert_eq!(result["content"][0]["type"], "image", "{result}");
    }
    let names: Vec<_> = plans(&peer.frames()).iter().map(|plan| plan[0].0.clone()).collect();
    assert_eq!(names, ["monitor.list", "monitor.wait", "monitor.capture", "monitor.capture"]);
}

#[test]
fn a_screen_that_changed_its_size_gets_a_picture_of_the_right_one() {
    let captures = AtomicUsize::new(0);
    let peer = Peer::new(move |_, frame| {
        let is_capture = frame["actions"].as_array().unwrap().last().unwrap()["action"] == "monitor.capture";
        let is_small = is_capture && captures.fetch_add(1, Ordering::Relaxed) >= 1;
        let answer = respond(frame, None);
        if is_small { answer.replace("2560", "1280").replace("1600", "800") } else { answer }
    });
    let mut talk = anthropic(&peer, &[]);
    for _ in 0..2 {
        talk.ask(&member("t", "screenshot", json!({})));
    }
    let captures: Vec<_> = plans(&peer.frames())[1..].iter().map(|plan| plan[1].1.clone()).collect();
    let scaled = json!({"width": 2000, "height": 1250});
    assert_eq!(captures, [scaled.clone(), scaled, json!({})]);
    let outside = talk.ask(&member("t", "left_click", json!({"coordinate": [1280, 5]})));
    assert!(text(&outside).contains("which is 1280x800"), "{outside}");
}

#[test]
fn a_pointer_that_something_else_moved_is_told() {
    let peer = Peer::new(|action, frame| match action {
        "mouse.click" => told(&json!({"x": 1, "y": 2, "elsewhere": {"x": 5, "y": 6}})),
        _ => respond(frame, None),
    });
    let result = anthropic(&peer, &[]).ask(&member("t", "left_click", json!({})));
    assert!(text(&result).contains("something else moved the pointer"), "{result}");
}

#[test]
fn the_plans_of_a_process_are_plain_ones_of_one_session() {
    let peer = desktop(None);
    let mut talk = anthropic(&peer, &["--session", "s-9"]);
    talk.ask(&member("t", "type", json!({"text": "hunter2"})));
    talk.ask(&member("t", "left_click", json!({"coordinate": [10, 20]})));
    for frame in peer.frames() {
        let mut names: Vec<_> = frame.as_object().unwrap().keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["actions", "mode", "request_id", "session_id", "version"]);
        assert_eq!(frame["session_id"], "s-9");
    }
    let reasons: Vec<_> = peer.frames().iter().map(|frame| frame["actions"][0]["reason"].clone()).collect();
    let at = "computer: left_click at (10, 20)";
    assert_eq!(reasons, ["computer: type 7 characters", at, at]);
}
