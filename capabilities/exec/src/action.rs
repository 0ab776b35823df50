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
        #[schemars(length(min = 1), extend("x-resource" = {"kind": "Program", "verbs": ["run"]}))]
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
        #[schemars(length(min = 1), inner(range(min = 0, max = 255)))]
        expect_exit: Option<Vec<i32>>,
        /// Whether the program may use the display that the host drives: it then finds it as DISPLAY. A program that
        /// has it sees everything there and can send input to every window.
        #[serde(default)]
        #[schemars(extend("x-resource" = {"kind": "Display", "verbs": ["observe", "inject"]}))]
        display: bool,
    },
    /// Runs several programs at once, the standard output of each being the standard input of the next, and answers how
    /// each of them ended. There is no shell: every stage is judged and held on its own, as exec.run would.
    Pipe {
        /// The programs, in order: 1 to 16.
        #[schemars(length(min = 1, max = 16))]
        stages: Vec<Stage>,
        /// What the first program reads from its standard input; without it the input is empty.
        #[serde(default)]
        stdin: Option<Secret>,
        /// The absolute path of a file below a root for writing, whose content becomes the standard output of the last
        /// program. Its directory must exist. It is written as a whole, and only where that program succeeded.
        #[serde(default)]
        #[schemars(extend("x-resource" = {"kind": "Path", "verbs": ["change"]}))]
        stdout_file: Option<WirePath>,
        /// After this many milliseconds all programs, and all that they started, are killed. 30,000 if not given.
        #[serde(default)]
        timeout_ms: Option<u64>,
        /// How many bytes of the last stdout, and of each stderr, are kept; the rest is counted and dropped. 65,536 if
        /// not given. A file gets all of it.
        #[serde(default)]
        max_output_bytes: Option<u64>,
    },
    /// Starts one program that goes on after the plan, and answers with a handle: exec.read reads what it writes,
    /// exec.write gives it input, exec.stop ends it. It is judged and held as exec.run would. The handle is known to this
    /// session alone, also after its connection is lost.
    Start {
        /// The program's absolute path, then its arguments, at most 1,024 in all. The program is never searched for.
        #[schemars(length(min = 1), extend("x-resource" = {"kind": "Program", "verbs": ["run"]}))]
        argv: Vec<String>,
        /// The absolute path of the directory to start in; without it the first directory that the host was given.
        #[serde(default)]
        cwd: Option<WirePath>,
        /// Environment variables beside the fixed ones; only names that the operator allows.
        #[serde(default)]
        env: BTreeMap<String, Secret>,
        /// Whether the program gets a terminal of 24 rows and 80 columns (TERM is then xterm). Without it, it has pipes.
        #[serde(default)]
        pty: bool,
        /// After this many milliseconds the program, and all that it started, is killed. An hour if not given.
        #[serde(default)]
        timeout_ms: Option<u64>,
        /// Whether the program may use the display that the host drives.
        #[serde(default)]
        #[schemars(extend("x-resource" = {"kind": "Display", "verbs": ["observe", "inject"]}))]
        display: bool,
    },
    /// Reads what a started program wrote, to its standard output and standard error in the order in which it came; of
    /// a terminal the text without escape sequences. Everything can be read again by its offset.
    Read {
        /// The handle.
        handle: String,
        /// The offset to read from: 0, or the `next` of an earlier answer.
        #[serde(default)]
        after: u64,
        /// How many bytes are answered at most. 65,536 if not given.
        #[serde(default)]
        max_bytes: Option<u64>,
        /// How many milliseconds to wait where nothing is there yet and the program runs. 0 if not given.
        #[serde(default)]
        wait_ms: Option<u64>,
        /// Whether to answer with what the terminal shows as well.
        #[serde(default)]
        screen: bool,
    },
    /// Writes to the standard input of a started program, or types into its terminal. The policy judges it as running the
    /// program.
    Write {
        /// The handle.
        handle: String,
        /// What to write.
        #[serde(default)]
        data: Option<Secret>,
        /// Whether the input ends after it; a terminal is typed the end of input (control-D).
        #[serde(default)]
        end: bool,
        /// How many milliseconds to wait for the program to read, where it is behind. 5,000 if not given.
        #[serde(default)]
        wait_ms: Option<u64>,
    },
    /// Sends a signal to a started program.
    Signal {
        /// The handle.
        handle: String,
        /// The signal.
        signal: SignalName,
    },
    /// Ends a started program with all that it started, and forgets the handle and the output.
    Stop {
        /// The handle.
        handle: String,
    },
    /// Lists the programs that this session started and did not stop.
    List {},
}

/// One program of a pipe.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// The program's absolute path, then its arguments, at most 1,024 in all. The program is never searched for.
    #[schemars(length(min = 1), extend("x-resource" = {"kind": "Program", "verbs": ["run"]}))]
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
    #[schemars(length(min = 1), inner(range(min = 0, max = 255)))]
    pub expect_exit: Option<Vec<i32>>,
    /// Whether the program may use the display that the host drives.
    #[serde(default)]
    #[schemars(extend("x-resource" = {"kind": "Display", "verbs": ["observe", "inject"]}))]
    pub display: bool,
}

/// A signal that can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum SignalName {
    /// Go on.
    #[serde(rename = "SIGCONT")]
    Cont,
    /// The terminal is gone, or: read the configuration anew.
    #[serde(rename = "SIGHUP")]
    Hup,
    /// Interrupt, as control-C does in a terminal.
    #[serde(rename = "SIGINT")]
    Int,
    /// End at once.
    #[serde(rename = "SIGKILL")]
    Kill,
    /// Quit, as control-\\ does in a terminal.
    #[serde(rename = "SIGQUIT")]
    Quit,
    /// Stand still.
    #[serde(rename = "SIGSTOP")]
    Stop,
    /// End.
    #[serde(rename = "SIGTERM")]
    Term,
    /// What the program makes of it.
    #[serde(rename = "SIGUSR1")]
    Usr1,
    /// What the program makes of it.
    #[serde(rename = "SIGUSR2")]
    Usr2,
}
