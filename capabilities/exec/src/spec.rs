//! What `exec` declares of each action: effects, codes, examples.

use llm_os_core::{ActionSpec, EffectSpec, Example, FactSpec, FactType, Kind, Verb, file};

use crate::{
    EXEC_ENDED, EXEC_FAILED, EXEC_INPUT_FULL, EXEC_LIMIT_EXCEEDED, EXEC_NO_HANDLE, EXEC_NOT_FOUND,
    EXEC_TIMED_OUT, WRITE_FAILED,
};

/// Every action, sorted by verb.
pub(crate) const ACTIONS: &[ActionSpec] = &[
    ActionSpec {
        verb: "list",
        effects: &[EffectSpec { verb: Verb::Observe, kind: Kind::Handle, facts: &[] }],
        errors: &[],
        examples: &[Example { doc: "What goes on?", params: "{}" }],
    },
    ActionSpec {
        verb: "pipe",
        effects: &[
            RUN,
            LOOK,
            SEE,
            DRIVE,
            EffectSpec { verb: Verb::Change, kind: Kind::Path, facts: file::FACTS },
        ],
        errors: &[
            EXEC_FAILED.as_str(),
            EXEC_LIMIT_EXCEEDED.as_str(),
            EXEC_NOT_FOUND.as_str(),
            EXEC_TIMED_OUT.as_str(),
            WRITE_FAILED.as_str(),
        ],
        examples: &[
            Example {
                doc: "The three longest lines of what is given.",
                params: r#"{"stages":[{"argv":["/usr/bin/sort","-rn"]},{"argv":["/usr/bin/head","-n","3"]}],"stdin":"1\n3\n2\n"}"#,
            },
            Example {
                doc: "The words of a file, counted, into another file.",
                params: r#"{"stages":[{"argv":["/usr/bin/tr","-s"," ","\n"]},{"argv":["/usr/bin/sort"]},{"argv":["/usr/bin/uniq","-c"]}],"stdin":"a b a","stdout_file":"/w/counts.txt"}"#,
            },
        ],
    },
    ActionSpec {
        verb: "read",
        effects: &[handle(Verb::Observe)],
        errors: &[EXEC_NO_HANDLE.as_str(), EXEC_FAILED.as_str()],
        examples: &[
            Example {
                doc: "What came after the first 120 bytes, for ten seconds at most.",
                params: r#"{"handle":"h-1","after":120,"wait_ms":10000}"#,
            },
            Example { doc: "What the terminal shows.", params: r#"{"handle":"h-1","screen":true}"# },
        ],
    },
    ActionSpec {
        verb: "run",
        effects: RUNS,
        errors: RUNNING,
        examples: &[
            Example { doc: "Say hello.", params: r#"{"argv":["/bin/echo","hello"]}"# },
            Example {
                doc: "The last five commits, where a failure stops the plan.",
                params: r#"{"argv":["/usr/bin/git","log","--oneline","-n","5"],"cwd":"/srv/app","expect_exit":[0]}"#,
            },
            Example {
                doc: "Sort lines that are given, for two seconds at most.",
                params: r#"{"argv":["/usr/bin/sort"],"stdin":"b\na\n","env":{"LC_ALL":"C"},"timeout_ms":2000}"#,
            },
            Example {
                doc: "Open a window on the host's display, for ten minutes at most.",
                params: r#"{"argv":["/usr/bin/xclock"],"display":true,"timeout_ms":600000}"#,
            },
        ],
    },
    ActionSpec {
        verb: "signal",
        effects: &[handle(Verb::Change)],
        errors: &[EXEC_NO_HANDLE.as_str(), EXEC_ENDED.as_str()],
        examples: &[Example { doc: "Interrupt it.", params: r#"{"handle":"h-1","signal":"SIGINT"}"# }],
    },
    ActionSpec {
        verb: "start",
        effects: RUNS,
        errors: &[EXEC_FAILED.as_str(), EXEC_NOT_FOUND.as_str()],
        examples: &[
            Example {
                doc: "Follow a log, for ten minutes at most.",
                params: r#"{"argv":["/usr/bin/tail","-f","/w/app.log"],"timeout_ms":600000}"#,
            },
            Example {
                doc: "An interpreter in a terminal.",
                params: r#"{"argv":["/usr/bin/python3"],"pty":true}"#,
            },
        ],
    },
    ActionSpec {
        verb: "stop",
        effects: &[handle(Verb::Destroy)],
        errors: &[EXEC_NO_HANDLE.as_str()],
        examples: &[Example { doc: "End it.", params: r#"{"handle":"h-1"}"# }],
    },
    ActionSpec {
        verb: "write",
        effects: &[handle(Verb::Change), RUN],
        errors: &[
            EXEC_NO_HANDLE.as_str(),
            EXEC_ENDED.as_str(),
            EXEC_INPUT_FULL.as_str(),
            EXEC_FAILED.as_str(),
        ],
        examples: &[
            Example { doc: "Type a line.", params: r#"{"handle":"h-1","data":"print(1)\n"}"# },
            Example { doc: "End its input.", params: r#"{"handle":"h-1","end":true}"# },
        ],
    },
];

/// Something that is done with a program that goes on.
const fn handle(verb: Verb) -> EffectSpec {
    EffectSpec { verb, kind: Kind::Handle, facts: HANDLE_FACTS }
}

const HANDLE_FACTS: &[FactSpec] =
    &[FactSpec { name: "program", ty: FactType::Text, doc: "The real path of the program's file." }];

const RUN: EffectSpec = EffectSpec { verb: Verb::Run, kind: Kind::Program, facts: RUN_FACTS };
const LOOK: EffectSpec = EffectSpec { verb: Verb::Observe, kind: Kind::Path, facts: &[] };
const SEE: EffectSpec = EffectSpec { verb: Verb::Observe, kind: Kind::Display, facts: &[] };
const DRIVE: EffectSpec = EffectSpec { verb: Verb::Inject, kind: Kind::Display, facts: &[] };

/// The effects of starting a program.
const RUNS: &[EffectSpec] = &[RUN, LOOK, SEE, DRIVE];
const RUNNING: &[&str] =
    &[EXEC_FAILED.as_str(), EXEC_LIMIT_EXCEEDED.as_str(), EXEC_NOT_FOUND.as_str(), EXEC_TIMED_OUT.as_str()];

const RUN_FACTS: &[FactSpec] = &[
    FactSpec {
        name: "subcommand",
        ty: FactType::Text,
        doc: "The first argument after the program, empty where there is none or it starts with \"-\".",
    },
    FactSpec {
        name: "options",
        ty: FactType::Set,
        doc: "Every later argument that starts with \"-\", uncut, after \"--\" as well.",
    },
    FactSpec {
        name: "operands",
        ty: FactType::Set,
        doc: "The arguments that are neither the subcommand nor options.",
    },
    FactSpec {
        name: "argc",
        ty: FactType::Long,
        doc: "How many arguments there are, the program's name included.",
    },
    FactSpec {
        name: "sha256",
        ty: FactType::Text,
        doc: "SHA-256 of the file that runs, in lower-case hexadecimal.",
    },
    FactSpec { name: "cwd", ty: FactType::Text, doc: "The real path of the directory it starts in." },
    FactSpec { name: "argv0", ty: FactType::Text, doc: "The program's path as the plan spells it." },
    FactSpec {
        name: "trusted",
        ty: FactType::Bool,
        doc: "Whether only root can change the file and every directory of its path.",
    },
];
