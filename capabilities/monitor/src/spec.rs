//! What `monitor` declares of each action: effects, codes, examples.

use llm_os_core::{ActionSpec, EffectSpec, Example, Kind, Verb};
use llm_os_desktop::window::FACTS;

const DISPLAY: EffectSpec = EffectSpec { verb: Verb::Observe, kind: Kind::Display, facts: &FACTS };
const WINDOW: EffectSpec = EffectSpec { verb: Verb::Observe, kind: Kind::Window, facts: &FACTS };
const FILE: EffectSpec = EffectSpec { verb: Verb::Change, kind: Kind::Path, facts: &[] };

const PICTURE: &[&str] = &["display_changed", "window_changed"];

/// Every action, sorted by verb.
pub(crate) const ACTIONS: &[ActionSpec] = &[
    ActionSpec {
        verb: "capture",
        effects: &[DISPLAY, WINDOW, FILE],
        errors: &["display_changed", "not_found", "window_changed", "write_failed"],
        examples: &[
            Example { doc: "Take a picture of the whole screen", params: "{}" },
            Example {
                doc: "Take a picture that a model reads well, with the pointer",
                params: r#"{"max_edge":1280,"cursor":true}"#,
            },
            Example {
                doc: "Take a picture of a window",
                params: r#"{"target":{"window":{"class":"Gedit"}},"format":"jpeg","quality":80}"#,
            },
            Example {
                doc: "Take a picture of a region that was seen in a picture of half the size",
                params: r#"{"target":{"region":{"x":10,"y":20,"width":100,"height":50}},"space":{"width":640,"height":400}}"#,
            },
        ],
    },
    ActionSpec {
        verb: "diff",
        effects: &[DISPLAY, WINDOW],
        errors: &["display_changed", "not_found", "window_changed"],
        examples: &[Example {
            doc: "See what changed since a picture",
            params: r#"{"since":"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}"#,
        }],
    },
    ActionSpec {
        verb: "list",
        effects: &[DISPLAY],
        errors: &[],
        examples: &[Example { doc: "Which monitors are there?", params: "{}" }],
    },
    ActionSpec {
        verb: "wait",
        effects: &[DISPLAY],
        errors: &[],
        examples: &[
            Example { doc: "Wait until a page is drawn", params: r#"{"until":"settled"}"# },
            Example {
                doc: "Wait at most a minute for something to appear in a corner",
                params: r#"{"until":"changed","region":{"x":0,"y":0,"width":300,"height":100},"timeout_ms":60000}"#,
            },
        ],
    },
    ActionSpec {
        verb: "windows",
        effects: &[DISPLAY, WINDOW],
        errors: &[],
        examples: &[Example { doc: "Which windows are there?", params: "{}" }],
    },
    ActionSpec {
        verb: "zoom",
        effects: &[DISPLAY, WINDOW],
        errors: PICTURE,
        examples: &[Example {
            doc: "Read small text that was seen in a picture of half the size",
            params: r#"{"region":{"x":100,"y":100,"width":200,"height":60},"space":{"width":640,"height":400}}"#,
        }],
    },
];
