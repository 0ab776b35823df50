//! What a plan may ask for, as a model reads it.

use std::collections::BTreeMap;

use llm_os_core::Secret;
use llm_os_core::path::WirePath;
use schemars::JsonSchema;
use serde::Deserialize;

/// What a plan may ask for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// Runs one program to its end and answers with its exit code and its output. There is no shell: no variable,
    /// wildcard, pipe or redirection is expanded; each argument reaches the program as it stands.
    Run {
        /// The program's absolute path, then its arguments, at most 1,024 in all. The program is never searched for.
        argv: Vec<String>,
        /// The absolute path of the directory to start in; without it the first directory that the host was given.
        #[serde(default)]
        cwd: Option<WirePath>,
        /// Environment variables beside the fixed ones (PATH, HOME, LANG, TERM, TZ). Only names that the operator
        /// allows: LANG, LC_ALL, TZ, TERM, COLUMNS, LINES and NO_COLOR where nothing else is configured.
        #[serde(default)]
        env: BTreeMap<String, Secret>,
        /// What the program reads from its standard input; without it the input is empty.
        #[serde(default)]
        stdin: Option<Secret>,
        /// After this many milliseconds the program, and all that it started, is killed. 30,000 if not given.
        #[serde(default)]
        timeout_ms: Option<u64>,
        /// How many bytes of stdout, and of stderr, are kept; the rest is counted and dropped. 65,536 if not given.
        #[serde(default)]
        max_output_bytes: Option<u64>,
        /// The exit codes that count as success. Without it any end of the program does, and the plan goes on.
        #[serde(default)]
        expect_exit: Option<Vec<i32>>,
        /// Whether the program may use the display that the host drives: it then finds it as DISPLAY. A program that
        /// has it sees everything there and can send input to every window.
        #[serde(default)]
        display: bool,
    },
    /// Runs several programs at once, the standard output of each being the standard input of the next, and answers how
    /// each of them ended. There is no shell: every stage is judged and held on its own, as exec.run would.
    Pipe {
        /// The programs, in order: 1 to 16.
        stages: Vec<Stage>,
        /// What the first program reads from its standard input; without it the input is empty.
        #[serde(default)]
        stdin: Option<Secret>,
        /// The absolute path of a file below a root for writing, whose content becomes the standard output of the last
        /// program. Its directory must exist. It is written as a whole, and only where that program succeeded.
        #[serde(default)]
        stdout_file: Option<WirePath>,
        /// After this many milliseconds all programs, and all that they started, are killed. 30,000 if not given.
        #[serde(default)]
        timeout_ms: Option<u64>,
        /// How many bytes of the last stdout, and of each stderr, are kept; the rest is counted and dropped. 65,536 if
        /// not given. A file gets all of it.
        #[serde(default)]
        max_output_bytes: Option<u64>,
    },
}

/// One program of a pipe.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// The program's absolute path, then its arguments, at most 1,024 in all. The program is never searched for.
    pub argv: Vec<String>,
    /// The absolute path of the directory to start in; without it the first directory that the host was given.
    #[serde(default)]
    pub cwd: Option<WirePath>,
    /// Environment variables beside the fixed ones; only names that the operator allows.
    #[serde(default)]
    pub env: BTreeMap<String, Secret>,
    /// The exit codes that count as success. Without it any end of the program does; but where the last stage writes to
    /// a file, only 0.
    #[serde(default)]
    pub expect_exit: Option<Vec<i32>>,
    /// Whether the program may use the display that the host drives.
    #[serde(default)]
    pub display: bool,
}
