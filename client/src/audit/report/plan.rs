//! A plan on the page: what was asked, why, what was decided, what came of it.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::audit::about;
use crate::audit::report::collect::Record;
use crate::audit::report::html::Html;
use crate::audit::report::pictures::{Pictures, taken};
use crate::audit::report::store::Store;

/// A record, and what is wrong with it.
type Told<'a> = (Value, Option<&'a str>);

/// How much of one text is shown.
const CUT: usize = 64 << 10;

/// Shows the records of a plan.
pub(super) fn plan(records: &[Record], store: &Store, pictures: &mut Pictures) -> Html {
    let records: Vec<Told<'_>> = records.iter().map(told).collect();
    let any = |test: &dyn Fn(&Value) -> bool| records.iter().any(|(record, _)| test(record));
    let mut html = Html::default();
    html.raw("<article class=\"item");
    let is = |record: &Value, events: &[&str]| events.iter().any(|event| record["event"] == *event);
    let classes: [(&'static str, bool); 6] = [
        (" refused", any(&|r| is(r, &["refused", "denied", "token_burnt"]))),
        (" confirmed", any(&|r| is(r, &["approved", "token_used"]) || r["decision"]["approved"].is_object())),
        (" failed", any(&|r| is(r, &["interrupted"]) || r["outcome"]["status"] == "failed")),
        (" allowed", any(&|r| is(r, &["intent"]))),
        (" picture", any(&|r| r["evidence"].to_string().contains("picture"))),
        (" broken", records.iter().any(|(_, mark)| mark.is_some())),
    ];
    classes.iter().filter(|(_, on)| *on).for_each(|(class, _)| {
        html.raw(class);
    });
    html.raw("\"><h3>");
    let first = &records[0].0;
    html.text(&names(&records)).raw("</h3><p class=meta>");
    for (label, value) in [
        ("request ", &first["request_id"]),
        (", session ", &first["session_id"]),
        (", user ", &first["who"]["uid"]),
        (", process ", &first["who"]["pid"]),
        (", program ", &first["who"]["exe"]),
        (", run ", &first["run"]),
    ] {
        if !value.is_null() {
            html.raw(label).text(&plain(value));
        }
    }
    html.raw("</p>");
    let mut actions: BTreeMap<Option<u64>, Vec<&Told<'_>>> = BTreeMap::new();
    for record in &records {
        actions.entry(about::index(&record.0)).or_default().push(record);
    }
    for (index, steps) in &actions {
        html.raw("<section>");
        if index.is_some() {
            asked(&mut html, steps);
        }
        html.raw("<ol>");
        for (record, mark) in steps {
            step(&mut html, record, *mark, store, pictures);
        }
        html.raw("</ol></section>");
    }
    html.raw("</article>\n");
    html
}

fn told(record: &Record) -> Told<'_> {
    (serde_json::from_slice(&record.line).unwrap_or_default(), record.mark.as_deref())
}

/// Shows what is no plan's.
pub(super) fn event(record: &Record) -> Html {
    let mut html = Html::default();
    let (value, mark) = told(record);
    html.raw("<article class=\"item event");
    html.raw(if mark.is_some() { " broken" } else { "" });
    html.raw(if value["event"] == "refused" || value["event"] == "summary" { " refused" } else { "" });
    html.raw("\">");
    head(&mut html, &value, mark);
    if !value["why"].is_null() {
        html.raw("<p>In the requester's words:</p><blockquote>")
            .lines(&cut(&plain(&value["why"])))
            .raw("</blockquote>");
    }
    if let Some(data) = value["data"].as_object().filter(|_| value["event"] != "checkpoint") {
        html.raw("<dl>");
        for (key, value) in data {
            html.raw("<dt>").text(key).raw("</dt><dd>").text(&cut(&plain(value))).raw("</dd>");
        }
        html.raw("</dl>");
    }
    html.raw("</article>\n");
    html
}

fn names(records: &[Told<'_>]) -> String {
    let mut names = Vec::new();
    for (record, _) in records {
        for name in about::actions(record) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    if names.is_empty() { "plan".to_owned() } else { names.join(", ") }
}

fn asked(html: &mut Html, steps: &[&Told<'_>]) {
    let field = |name: &str| steps.iter().rev().map(|(r, _)| &r["what"][name]).find(|v| !v.is_null());
    html.raw("<h4>").text(&field("action").map(plain).unwrap_or_default()).raw("</h4>");
    if let Some((record, _)) = steps.iter().find(|(record, _)| record["why"].is_string()) {
        html.raw("<p>Why, in the requester's words:</p><blockquote>");
        html.lines(&cut(&plain(&record["why"]))).raw("</blockquote>");
    }
    if let Some(params) = field("params") {
        html.raw("<p>Asked, as recorded:</p><pre>");
        html.lines(&cut(&serde_json::to_string_pretty(params).unwrap_or_default())).raw("</pre>");
    }
    let effects = field("effects").and_then(Value::as_array).into_iter().flatten();
    html.raw("<ul>");
    for effect in effects {
        html.raw("<li>").text(&plain(&effect["verb"])).raw(" ").text(&plain(&effect["resource"]["kind"]));
        html.raw(" <b>").text(&cut(&plain(&effect["resource"]["id"]))).raw("</b> <span class=meta>");
        html.text(&cut(&plain(&effect["facts"]))).raw("</span></li>");
    }
    html.raw("</ul>");
}

fn step(html: &mut Html, record: &Value, mark: Option<&str>, store: &Store, pictures: &mut Pictures) {
    html.raw("<li>");
    head(html, record, mark);
    let decision = &record["decision"];
    if decision.is_object() {
        html.raw("<p>Decision: <b>").text(&plain(&decision["decision"])).raw("</b></p><ul>");
        for policy in decision["policies"].as_array().into_iter().flatten() {
            html.raw("<li>policy <code>").text(&plain(&policy["policy"])).raw("</code> ");
            html.text(&policy["reason"].as_str().map(cut).unwrap_or_default()).raw("</li>");
        }
        html.raw("</ul>");
    }
    if let Some(approved) = decision["approved"].as_object() {
        html.raw("<p>Approved:");
        for (key, value) in approved {
            html.raw(" <span class=meta>").text(key).raw("</span> ").text(&cut(&plain(value)));
        }
        html.raw("</p>");
    }
    let outcome = &record["outcome"];
    if let Some(fields) = outcome.as_object() {
        html.raw(if outcome["status"] == "ok" { "<p>" } else { "<p class=bad>" });
        html.text(&plain(&outcome["status"]));
        for (key, value) in
            fields.iter().filter(|(key, _)| !matches!(key.as_str(), "status" | "output_hmac_sha256"))
        {
            html.raw(", ").text(key).raw(" ").text(&cut(&plain(value)));
        }
        html.raw("</p>");
    }
    let kept = record["evidence"].as_array();
    if kept.is_none() && outcome["output_bytes"].as_u64().is_some_and(|bytes| bytes > 0) {
        html.raw("<p class=meta>The output is not kept: evidence is off.</p>");
    }
    for item in kept.into_iter().flatten() {
        evidence(html, item, store, pictures);
    }
    html.raw("</li>");
}

fn head(html: &mut Html, record: &Value, mark: Option<&str>) {
    if let Some(mark) = mark {
        html.raw("<p class=break>").text(mark).raw("</p>");
    }
    let event = record["event"].as_str().unwrap_or_default();
    let bad = matches!(event, "refused" | "denied" | "token_burnt" | "interrupted" | "halted" | "recovered");
    html.raw(if bad { "<b class=bad>" } else { "<b>" }).text(&event.replace('_', " ")).raw("</b>");
    if matches!(event, "approved" | "denied" | "halted" | "resumed" | "granted" | "revoked" | "policy_loaded")
        && record["who"].is_object()
    {
        html.raw(" by user ").text(&plain(&record["who"]["uid"]));
    }
    html.raw(" <time>").text(&plain(&record["time"])).raw("</time> <span class=meta>record ");
    html.text(&plain(&record["seq"])).raw("</span>");
}

fn evidence(html: &mut Html, item: &Value, store: &Store, pictures: &mut Pictures) {
    let (name, sha256) = (plain(&item["name"]), plain(&item["sha256"]));
    let bytes = match store.read(&sha256) {
        Ok(bytes) => bytes,
        Err(why) => {
            html.raw("<p class=bad>").text(&name).raw(" ").text(&sha256).raw(": ").text(why).raw("</p>");
            return;
        }
    };
    let point = item["point"].as_array().and_then(|at| Some([at.first()?.as_u64()?, at.get(1)?.as_u64()?]));
    match name.as_str() {
        "picture" => pictures.show(html, &sha256, &bytes, point),
        "diff" => {
            html.raw("<pre>");
            for line in cut(&String::from_utf8_lossy(&bytes)).lines() {
                let (open, close) = match line.as_bytes().first() {
                    Some(b'+') => ("<ins>", "</ins>"),
                    Some(b'-') => ("<del>", "</del>"),
                    Some(b'@') => ("<b class=k>", "</b>"),
                    Some(_) | None => ("", "\n"),
                };
                html.raw(open).text(line).raw(close);
            }
            html.raw("</pre>");
        }
        _ => {
            let mut output = serde_json::from_slice::<Value>(&bytes).unwrap_or_default();
            let found = taken(&mut output);
            let text = match &output {
                Value::Null => String::from_utf8_lossy(&bytes).into_owned(),
                output => serde_json::to_string_pretty(output).unwrap_or_default(),
            };
            html.raw("<details><summary>")
                .text(&name)
                .raw(", ")
                .number(bytes.len() as u64)
                .raw(" bytes</summary><pre>");
            html.lines(&cut(&text)).raw("</pre></details>");
            found.iter().for_each(|picture| pictures.show(html, &sha256, picture, None));
        }
    }
}

/// Text as it is, everything else as JSON.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn cut(text: &str) -> String {
    let mut end = CUT.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let left = text.len() - end;
    if left == 0 { text.to_owned() } else { format!("{} (cut: {left} bytes more)", &text[..end]) }
}
