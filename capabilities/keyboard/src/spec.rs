//! What `keyboard` declares of each action: effects, codes, examples.

use llm_os_core::{ActionSpec, EffectSpec, Example, FactSpec, FactType, Kind, Verb};
use llm_os_desktop::window::FACTS;

const TEXT_FACTS: &[FactSpec] = &[
    FACTS[0],
    FACTS[1],
    FACTS[2],
    FACTS[3],
    FACTS[4],
    FACTS[5],
    FactSpec { name: "characters", ty: FactType::Long, doc: "How many characters are typed." },
    FactSpec {
        name: "newline",
        ty: FactType::Bool,
        doc: "Whether Return is pressed for a line feed in the text.",
    },
    FactSpec { name: "tab", ty: FactType::Bool, doc: "Whether Tab is pressed for a tab in the text." },
];

const KEY_FACTS: &[FactSpec] = &[
    FACTS[0],
    FACTS[1],
    FACTS[2],
    FACTS[3],
    FACTS[4],
    FACTS[5],
    FactSpec {
        name: "key",
        ty: FactType::Text,
        doc: "The chord in its one spelling: ctrl, alt, shift, super, altgr in this order, then X keysym names, joined \
              with +, such as \"ctrl+shift+Page_Down\"; a letter is lower case beside another key.",
    },
    FactSpec {
        name: "modifiers",
        ty: FactType::Set,
        doc: "Those of ctrl, alt, shift, super, altgr that the chord names or that are held down already.",
    },
];

const fn inject(kind: Kind, facts: &'static [FactSpec]) -> EffectSpec {
    EffectSpec { verb: Verb::Inject, kind, facts }
}

const TEXT: &[EffectSpec] = &[inject(Kind::Window, TEXT_FACTS), inject(Kind::Display, TEXT_FACTS)];
const KEYS: &[EffectSpec] = &[inject(Kind::Window, KEY_FACTS), inject(Kind::Display, KEY_FACTS)];

const ERRORS: &[&str] = &[
    "window_changed",
    "input_grabbed",
    "modifiers_held",
    "key_held",
    "not_responding",
    "no_focus",
    "no_key",
];

/// Every action, sorted by verb.
pub(crate) const ACTIONS: &[ActionSpec] = &[
    ActionSpec {
        verb: "down",
        effects: KEYS,
        errors: ERRORS,
        examples: &[Example { doc: "Hold ctrl for the clicks that follow", params: r#"{"keys":"ctrl"}"# }],
    },
    ActionSpec {
        verb: "hold",
        effects: KEYS,
        errors: ERRORS,
        examples: &[Example {
            doc: "Walk to the right for two seconds",
            params: r#"{"keys":"Right","duration_ms":2000}"#,
        }],
    },
    ActionSpec {
        verb: "press",
        effects: KEYS,
        errors: ERRORS,
        examples: &[
            Example { doc: "Press Return", params: r#"{"keys":"Return"}"# },
            Example { doc: "Go to the next tab twice", params: r#"{"keys":"ctrl+Page_Down","repeat":2}"# },
            Example {
                doc: "The same in a browser's names",
                params: r#"{"keys":"CTRL+PAGEDOWN","repeat":2}"#,
            },
        ],
    },
    ActionSpec {
        verb: "type",
        effects: TEXT,
        errors: ERRORS,
        examples: &[
            Example { doc: "Fill in a field", params: r#"{"text":"Grüße aus Köln"}"# },
            Example {
                doc: "Write two lines",
                params: r#"{"text":"first\nsecond\n","controls":["newline"]}"#,
            },
        ],
    },
    ActionSpec {
        verb: "up",
        effects: KEYS,
        errors: &["window_changed", "input_grabbed", "no_focus", "not_held"],
        examples: &[Example { doc: "Release ctrl again", params: r#"{"keys":"ctrl"}"# }],
    },
];
