//! The exec capability: runs one program, exactly the file that was judged, with exactly the arguments of the plan.
//!
//! - No shell is ever involved, and no name is ever looked up: `argv[0]` is an absolute path, opened once.
//! - What was opened is what runs (`execveat`): the file itself where only root can change it, else a sealed copy of it
//!   whose digest was judged.
//! - A program starts from nothing: an environment of fixed variables, descriptors 0, 1 and 2, namespaces of its own. When
//!   it ends, or its time is up, everything it started is dead.
//! - The kernel holds it to what the policy says while it runs: what the session could not have opened through `fs`, it
//!   cannot open.
//!
//! ```text
//! params (checks of values) -> walk, image, program (what runs) -> command (effects)
//!   -> sandbox (what holds it) -> run -> spawn (all unsafe code)
//! ```

mod command;
pub mod config;
mod display;
mod image;
mod interpreters;
mod neutral;
mod params;
mod program;
mod run;
mod sandbox;
mod spawn;
mod walk;

use std::collections::BTreeMap;

use llm_os_core::path::WirePath;
use llm_os_core::{
    ActionSpec, Capability, Code, Context, EffectSpec, Example, FactSpec, FactType, Fault, Granted, Kind,
    Profile, Reach, Registration, Resource, Secret, Setup, Text, Verb,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use command::Command;
pub use config::Config;
pub use sandbox::Containment;

use image::Cache;
use run::{End, Outcome};
use sandbox::Sandbox;

const EXEC_FAILED: Code = Code::own("exec_failed");
const EXEC_LIMIT_EXCEEDED: Code = Code::own("exec_limit_exceeded");
const EXEC_NOT_FOUND: Code = Code::own("exec_not_found");
const EXEC_TIMED_OUT: Code = Code::own("exec_timed_out");

/// Runs programs.
pub struct Exec {
    config: Config,
    setup: Setup,
    sandbox: Sandbox,
    cache: Cache,
}

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
}

/// What the actions answer.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Output {
    /// How a program ended and what it wrote.
    Run(Ran),
}

/// How a program ended and what it wrote. Neither `exit_code` nor `signal` is there where it was killed at its deadline.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Ran {
    /// The exit code, where the program exited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The signal, where one ended the program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<Signal>,
    /// What it wrote to its standard output.
    pub stdout: Text,
    /// What it wrote to its standard error.
    pub stderr: Text,
    /// What held it while it ran.
    pub contained: Containment,
    /// What varies from run to run.
    pub meta: Meta,
}

/// A signal that ended a program.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Signal {
    /// The number.
    pub number: i32,
    /// The name, such as `SIGKILL`.
    pub name: String,
}

/// Time and memory of a run.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Meta {
    /// From the start to the end, in microseconds.
    pub duration_us: u64,
    /// Processor time of the whole process tree in its programs, in microseconds.
    pub user_us: u64,
    /// Processor time of the whole process tree in the kernel, in microseconds.
    pub system_us: u64,
    /// The most memory that one process of the tree held at once. Never less than what the host itself holds, since
    /// a process begins as its copy (getrusage(2)).
    pub max_rss_bytes: u64,
}

impl Capability for Exec {
    const NAME: &'static str = "exec";
    const ACTIONS: &'static [ActionSpec] = &[ActionSpec {
        verb: "run",
        effects: &[
            EffectSpec { verb: Verb::Run, kind: Kind::Program, facts: RUN_FACTS },
            EffectSpec { verb: Verb::Observe, kind: Kind::Path, facts: &[] },
            EffectSpec { verb: Verb::Observe, kind: Kind::Display, facts: &[] },
            EffectSpec { verb: Verb::Inject, kind: Kind::Display, facts: &[] },
        ],
        errors: &[
            EXEC_FAILED.as_str(),
            EXEC_LIMIT_EXCEEDED.as_str(),
            EXEC_NOT_FOUND.as_str(),
            EXEC_TIMED_OUT.as_str(),
        ],
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
    }];
    type Config = Config;
    type Action = Action;
    type Resolved = Command;
    type Output = Output;

    fn open(config: Config, setup: &Setup) -> Result<Self, Fault> {
        let sandbox = Sandbox::open(config.sandbox.clone())?;
        Ok(Self { config, setup: setup.clone(), sandbox, cache: Cache::default() })
    }

    fn cannot_hold(&self, reach: &Reach, profile: &Profile) -> Option<String> {
        self.sandbox.cannot_hold(reach, profile)
    }

    fn always_asks(resource: &Resource) -> Option<String> {
        program::always_asks(resource)
    }

    fn validate(&self, action: &Action) -> Result<(), Fault> {
        params::check(action, &self.config, self.setup.display.as_ref())
    }

    fn resolve(&self, action: Action) -> Result<Command, Fault> {
        Command::resolve(action, &self.config, &self.setup, &self.cache)
    }

    async fn execute(&self, granted: Granted<Command>, cx: &Context) -> Result<Output, Fault> {
        let command = granted.into_inner();
        let contained = self.sandbox.contain(cx, command.display.as_ref())?;
        cx.note("contained", serde_json::to_value(&contained.containment).unwrap_or_default());
        let outcome = match run::run(&command, &contained, cx.cancelled()).await {
            Err(refused) if refused.is_stale => {
                let anew = self.sandbox.contain(cx, command.display.as_ref())?;
                run::run(&command, &anew, cx.cancelled()).await
            }
            outcome => outcome,
        };
        let outcome = outcome.map_err(|refused| refused.fault)?;
        answer(outcome, &command, contained.containment, || cx.stopped())
    }
}

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

inventory::submit!(Registration::of::<Exec>());

/// Turns an outcome into the answer, or into the fault that it is.
fn answer(
    outcome: Outcome,
    command: &Command,
    contained: Containment,
    stopped: impl Fn() -> Option<Fault>,
) -> Result<Output, Fault> {
    let Outcome { end, stdout, stderr, usage, out_of_memory, duration } = outcome;
    let (exit_code, signal) = match end {
        End::Ended(status) if libc::WIFEXITED(status) => (Some(libc::WEXITSTATUS(status)), None),
        End::Ended(status) => (None, Some(Signal::new(libc::WTERMSIG(status)))),
        End::TimedOut | End::Stopped | End::Lost => (None, None),
    };
    let meta = Meta {
        duration_us: u64::try_from(duration.as_micros()).unwrap_or(u64::MAX),
        user_us: usage.user_us,
        system_us: usage.system_us,
        max_rss_bytes: usage.max_rss_bytes,
    };
    let ran = Ran { exit_code, signal, stdout, stderr, contained, meta };
    let of_action = out_of_memory.then_some("the limit of the memory of an action, memory_bytes");
    let limit = of_action.or_else(|| ran.signal.as_ref().and_then(Signal::limit));
    let fault = match (end, &command.expect_exit, limit) {
        (End::Ended(_) | End::Lost, _, Some(limit)) => {
            let message = format!("the program was ended by {limit}, which [capabilities.exec.sandbox] sets");
            Fault::new(EXEC_LIMIT_EXCEEDED, message)
        }
        (End::Ended(_), Some(expected), None) if !exit_code.is_some_and(|code| expected.contains(&code)) => {
            let found = match (&ran.exit_code, &ran.signal) {
                (Some(code), _) => format!("the program exited with {code}"),
                (None, Some(signal)) => format!("the program was ended by {}", signal.name),
                (None, None) => "the program ended".to_owned(),
            };
            Fault::new(EXEC_FAILED, format!("{found}, expected the exit code {}", one_of(expected)))
        }
        (End::Ended(_), _, None) => return Ok(Output::Run(ran)),
        (End::TimedOut, _, _) => {
            let limit = command.timeout.as_millis();
            let message =
                format!("the program ran longer than {limit} ms, and was killed with all that it started");
            Fault::new(EXEC_TIMED_OUT, message)
        }
        (End::Stopped, _, _) => {
            stopped().unwrap_or_else(|| Fault::new(Code::CANCELLED, "the plan was stopped"))
        }
        (End::Lost, _, None) => {
            Fault::new(EXEC_FAILED, "the program was killed from outside, with all that it started")
        }
    };
    Err(fault.delivered(&ran))
}

fn one_of(codes: &[i32]) -> String {
    codes.iter().map(i32::to_string).collect::<Vec<_>>().join(" or ")
}

impl Signal {
    fn new(number: i32) -> Self {
        const NAMES: [(i32, &str); 19] = [
            (libc::SIGHUP, "SIGHUP"),
            (libc::SIGINT, "SIGINT"),
            (libc::SIGQUIT, "SIGQUIT"),
            (libc::SIGILL, "SIGILL"),
            (libc::SIGTRAP, "SIGTRAP"),
            (libc::SIGABRT, "SIGABRT"),
            (libc::SIGBUS, "SIGBUS"),
            (libc::SIGFPE, "SIGFPE"),
            (libc::SIGKILL, "SIGKILL"),
            (libc::SIGUSR1, "SIGUSR1"),
            (libc::SIGSEGV, "SIGSEGV"),
            (libc::SIGUSR2, "SIGUSR2"),
            (libc::SIGPIPE, "SIGPIPE"),
            (libc::SIGALRM, "SIGALRM"),
            (libc::SIGTERM, "SIGTERM"),
            (libc::SIGXCPU, "SIGXCPU"),
            (libc::SIGXFSZ, "SIGXFSZ"),
            (libc::SIGVTALRM, "SIGVTALRM"),
            (libc::SIGSYS, "SIGSYS"),
        ];
        let name = NAMES.iter().find(|(known, _)| *known == number).map(|(_, name)| (*name).to_owned());
        Self { number, name: name.unwrap_or_else(|| format!("signal {number}")) }
    }

    /// The limit that this signal tells of (setrlimit(2)).
    fn limit(&self) -> Option<&'static str> {
        match self.number {
            libc::SIGXCPU => Some("the limit of its processor time, cpu_s"),
            libc::SIGXFSZ => Some("the limit of the length of a file, file_bytes"),
            _ => None,
        }
    }
}
