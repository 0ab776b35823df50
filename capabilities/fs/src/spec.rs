//! What `fs` declares of each action: effects, codes, examples.

use llm_os_core::file::FACTS;
use llm_os_core::{ActionSpec, EffectSpec, Example, Kind, Verb};

const OBSERVE: EffectSpec = EffectSpec { verb: Verb::Observe, kind: Kind::Path, facts: FACTS };
const CHANGE: EffectSpec = EffectSpec { verb: Verb::Change, kind: Kind::Path, facts: FACTS };
const DESTROY: EffectSpec = EffectSpec { verb: Verb::Destroy, kind: Kind::Path, facts: FACTS };

const LOOKING: &[&str] = &["not_found", "read_failed", "target_changed"];
const CHANGING: &[&str] = &[
    "not_found",
    "already_exists",
    "read_failed",
    "write_failed",
    "target_changed",
    "undo_quota_exceeded",
    "undo_unavailable",
];

/// Every action, sorted by verb.
pub(crate) const ACTIONS: &[ActionSpec] = &[
    ActionSpec {
        verb: "copy",
        effects: &[OBSERVE, CHANGE],
        errors: CHANGING,
        examples: &[
            Example { doc: "Copy one file", params: r#"{"from":"/w/report.md","to":"/w/report.old.md"}"# },
            Example {
                doc: "Copy a directory",
                params: r#"{"from":"/w/src","to":"/w/src.bak","recursive":true}"#,
            },
        ],
    },
    ActionSpec {
        verb: "edit",
        effects: &[OBSERVE, CHANGE],
        errors: &[
            "not_found",
            "edit_failed",
            "read_failed",
            "write_failed",
            "target_changed",
            "undo_quota_exceeded",
            "undo_unavailable",
        ],
        examples: &[
            Example {
                doc: "Replace one line",
                params: r#"{"path":"/w/a.toml","old":"port = 80\n","new":"port = 8080\n"}"#,
            },
            Example {
                doc: "See what renaming a name in three places would change",
                params: r#"{"path":"/w/a.rs","old":"old_name","new":"new_name","expected":3,"dry_run":true}"#,
            },
        ],
    },
    ActionSpec {
        verb: "list",
        effects: &[OBSERVE],
        errors: LOOKING,
        examples: &[
            Example { doc: "List a directory", params: r#"{"path":"/w"}"# },
            Example {
                doc: "List three levels, fifty entries at a time",
                params: r#"{"path":"/w","depth":3,"limit":50}"#,
            },
        ],
    },
    ActionSpec {
        verb: "mkdir",
        effects: &[CHANGE],
        errors: CHANGING,
        examples: &[Example {
            doc: "Create a directory and those above it",
            params: r#"{"path":"/w/a/b","parents":true}"#,
        }],
    },
    ActionSpec {
        verb: "move",
        effects: &[OBSERVE, CHANGE, DESTROY],
        errors: CHANGING,
        examples: &[Example { doc: "Rename a file", params: r#"{"from":"/w/draft.md","to":"/w/final.md"}"# }],
    },
    ActionSpec {
        verb: "read",
        effects: &[OBSERVE],
        errors: LOOKING,
        examples: &[
            Example { doc: "Read a file from its beginning", params: r#"{"path":"/w/notes.md"}"# },
            Example {
                doc: "Go on where a long file was cut",
                params: r#"{"path":"/w/big.log","offset":65536}"#,
            },
        ],
    },
    ActionSpec {
        verb: "remove",
        effects: &[DESTROY],
        errors: CHANGING,
        examples: &[
            Example { doc: "Remove a file", params: r#"{"path":"/w/old.txt"}"# },
            Example {
                doc: "Remove a directory and what is in it",
                params: r#"{"path":"/w/build","recursive":true}"#,
            },
        ],
    },
    ActionSpec {
        verb: "search",
        effects: &[OBSERVE],
        errors: LOOKING,
        examples: &[
            Example { doc: "Find files by name", params: r#"{"path":"/w","glob":"*.md"}"# },
            Example {
                doc: "Find lines in Rust files",
                params: r#"{"path":"/w","glob":"*.rs","pattern":"fn \\w+_test"}"#,
            },
        ],
    },
    ActionSpec {
        verb: "stat",
        effects: &[OBSERVE],
        errors: LOOKING,
        examples: &[Example { doc: "See what is at a path", params: r#"{"path":"/w/notes.md"}"# }],
    },
    ActionSpec {
        verb: "undo",
        effects: &[OBSERVE, CHANGE, DESTROY],
        errors: &[
            "not_found",
            "undo_conflict",
            "undo_quota_exceeded",
            "undo_unavailable",
            "read_failed",
            "write_failed",
            "target_changed",
        ],
        examples: &[
            Example { doc: "Take back all that a run changed", params: r#"{"run":"3f9c21d4a07b-12"}"# },
            Example {
                doc: "Take back what its second action changed",
                params: r#"{"run":"3f9c21d4a07b-12","index":1}"#,
            },
        ],
    },
    ActionSpec {
        verb: "write",
        effects: &[CHANGE],
        errors: CHANGING,
        examples: &[
            Example {
                doc: "Create a file",
                params: r#"{"path":"/w/hello.txt","content":"hi\n","mode":"create"}"#,
            },
            Example {
                doc: "Make a script of an existing file",
                params: r#"{"path":"/w/run.sh","content":"echo hi\n","mode":"replace","permissions":"755"}"#,
            },
        ],
    },
];
