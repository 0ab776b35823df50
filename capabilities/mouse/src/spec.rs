//! What `mouse` declares of each action: effects, facts, codes, examples.

use llm_os_core::{ActionSpec, EffectSpec, Example, FactSpec, FactType, Kind, Verb};
use llm_os_desktop::window;

/// Those of every window, and the mouse's own.
pub(crate) const FACTS: &[FactSpec] = &{
    let mut facts = [FactSpec { name: "", ty: FactType::Text, doc: "" }; window::FACTS.len() + 2];
    let mut index = 0;
    while index < window::FACTS.len() {
        facts[index] = window::FACTS[index];
        index += 1;
    }
    facts[index] = FactSpec {
        name: "button",
        ty: FactType::Text,
        doc: "The button that goes down or up, or is held down meanwhile: left, middle, right, back, forward; wheel \
              for scrolling; empty for a move.",
    };
    facts[index + 1] = FactSpec {
        name: "modifiers",
        ty: FactType::Set,
        doc: "The modifiers that are down meanwhile, those of the action and those that somebody holds: ctrl, alt, \
              shift, super, altgr.",
    };
    facts
};

/// On an X server, on a window; where no server tells which window it is, on the whole display.
const INJECT: &[EffectSpec] = &[
    EffectSpec { verb: Verb::Inject, kind: Kind::Window, facts: FACTS },
    EffectSpec { verb: Verb::Inject, kind: Kind::Display, facts: FACTS },
];

const OBSERVE: &[EffectSpec] =
    &[EffectSpec { verb: Verb::Observe, kind: Kind::Display, facts: &window::FACTS }];

const ERRORS: &[&str] = &[
    "display_changed",
    "input_grabbed",
    "modifiers_held",
    "not_responding",
    "pointer_moved",
    "window_changed",
];

const HOLDING: &[&str] = &[
    "already_held",
    "display_changed",
    "input_grabbed",
    "modifiers_held",
    "not_held",
    "not_responding",
    "pointer_moved",
    "window_changed",
];

/// Every action, sorted by verb.
pub(crate) const ACTIONS: &[ActionSpec] = &[
    ActionSpec {
        verb: "click",
        effects: INJECT,
        errors: HOLDING,
        examples: &[
            Example { doc: "Click at a pixel of the screen", params: r#"{"x":640,"y":400}"# },
            Example {
                doc: "Double-click at a pixel of a picture that shows the screen at half its size",
                params: r#"{"x":320,"y":200,"space":{"width":640,"height":400},"count":2}"#,
            },
            Example { doc: "Open the context menu where the pointer is", params: r#"{"button":"right"}"# },
            Example {
                doc: "Add one more to what is selected",
                params: r#"{"x":80,"y":120,"modifiers":["ctrl"]}"#,
            },
        ],
    },
    ActionSpec {
        verb: "down",
        effects: INJECT,
        errors: HOLDING,
        examples: &[Example { doc: "Hold the left button down", params: r#"{"button":"left"}"# }],
    },
    ActionSpec {
        verb: "drag",
        effects: INJECT,
        errors: HOLDING,
        examples: &[
            Example { doc: "Draw a line", params: r#"{"path":[[100,100],[300,200]]}"# },
            Example {
                doc: "Draw a corner, slowly",
                params: r#"{"path":[[100,100],[300,100],[300,300]],"duration_ms":2000}"#,
            },
        ],
    },
    ActionSpec {
        verb: "move",
        effects: INJECT,
        errors: ERRORS,
        examples: &[
            Example { doc: "Point at a pixel", params: r#"{"x":640,"y":400}"# },
            Example { doc: "Go ten pixels to the left", params: r#"{"dx":-10,"dy":0}"# },
        ],
    },
    ActionSpec {
        verb: "position",
        effects: OBSERVE,
        errors: &[],
        examples: &[Example { doc: "Where is the pointer?", params: "{}" }],
    },
    ActionSpec {
        verb: "scroll",
        effects: INJECT,
        errors: ERRORS,
        examples: &[
            Example { doc: "Scroll down by three clicks", params: r#"{"x":640,"y":400,"dy":3}"# },
            Example { doc: "Scroll up by about a page", params: r#"{"dy":-600,"unit":"pixel"}"# },
        ],
    },
    ActionSpec {
        verb: "up",
        effects: INJECT,
        errors: HOLDING,
        examples: &[Example { doc: "Release the left button", params: r#"{"button":"left"}"# }],
    },
];
