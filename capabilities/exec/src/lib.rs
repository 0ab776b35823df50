//! The exec capability: runs programs, each exactly the file that was judged, with exactly the arguments of the plan.
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
//!   -> sandbox (what holds it) -> run, pipe, handles -> spawn (all unsafe code)
//! ```

mod action;
mod answer;
mod command;
pub mod config;
mod display;
mod handles;
mod image;
mod interpreters;
mod neutral;
mod output;
mod params;
mod pipe;
mod program;
mod run;
mod sandbox;
mod spawn;
mod spec;
mod target;
mod walk;

use std::time::Duration;

use llm_os_core::{
    ActionSpec, Capability, Check, Code, Context, Effectful, Effects, Fault, Granted, Principal, Profile,
    Reach, Registration, Resource, Setup,
};

pub use action::{Action, SignalName, Stage};
pub use config::Config;
pub use output::{
    Cursor, Killed, Listed, Listing, Meta, Output, PipeMeta, Piped, Ran, Read, Screen, Signal, Signalled,
    Staged, Started, State, Stopped, Written, Wrote,
};
pub use sandbox::Containment;

use command::{Asked, Command};
use config::HandlesConfig;
use handles::{Handles, Start, Use, What};
use image::Cache;
use pipe::Pipe;
use run::Run;
use sandbox::Sandbox;
use target::Roots;

const EXEC_ENDED: Code = Code::own("exec_ended");
const EXEC_FAILED: Code = Code::own("exec_failed");
const EXEC_INPUT_FULL: Code = Code::own("exec_input_full");
const EXEC_LIMIT_EXCEEDED: Code = Code::own("exec_limit_exceeded");
const EXEC_NO_HANDLE: Code = Code::own("exec_no_handle");
const EXEC_NOT_FOUND: Code = Code::own("exec_not_found");
const EXEC_TIMED_OUT: Code = Code::own("exec_timed_out");
const WRITE_FAILED: Code = Code::own("write_failed");

/// How long a program may take to read what it is given, where the plan does not say.
const WRITE_WAIT_MS: u64 = 5_000;

/// Runs programs.
pub struct Exec {
    config: Config,
    setup: Setup,
    sandbox: Sandbox,
    cache: Cache,
    roots: Roots,
    handles: Handles,
}

/// An action with everything opened that it names.
pub struct Resolved(Work);

enum Work {
    Run(Run),
    Pipe(Pipe),
    Start(Start),
    Use(Use),
    List,
}

impl Effectful for Resolved {
    fn effects(&self) -> Effects {
        match &self.0 {
            Work::Run(run) => run.effects(),
            Work::Pipe(pipe) => pipe.effects(),
            Work::Start(start) => start.effects(),
            Work::Use(used) => used.effects(),
            Work::List => Effects::one(Handles::list_effect()),
        }
    }
}

impl Capability for Exec {
    const NAME: &'static str = "exec";
    const ACTIONS: &'static [ActionSpec] = spec::ACTIONS;
    type Config = Config;
    type Action = Action;
    type Resolved = Resolved;
    type Output = Output;

    fn open(config: Config, setup: &Setup) -> Result<Self, Fault> {
        let sandbox = Sandbox::open(config.sandbox.clone())?;
        let roots = Roots::open(setup);
        let handles = Handles::open(config.handles.clone(), setup);
        Ok(Self { config, setup: setup.clone(), sandbox, cache: Cache::default(), roots, handles })
    }

    fn checks(config: &Config, _: &Setup) -> Vec<Check> {
        sandbox::checks(&config.sandbox)
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

    fn resolve(&self, action: Action) -> Result<Resolved, Fault> {
        Ok(Resolved(match action {
            Action::Run { argv, cwd, env, stdin, timeout_ms, max_output_bytes, expect_exit, display } => {
                let command = self.command(Asked { argv, cwd, env, display, pty: false })?;
                let (timeout, output_bytes) = self.bounds(timeout_ms, max_output_bytes);
                Work::Run(Run { command, stdin, timeout, output_bytes, expect_exit })
            }
            Action::Pipe { stages, stdin, stdout_file, timeout_ms, max_output_bytes } => {
                let stage = |(at, stage): (usize, Stage)| {
                    let Stage { argv, cwd, env, expect_exit, display } = stage;
                    let command = self.command(Asked { argv, cwd, env, display, pty: false });
                    Ok((command.map_err(|fault| params::in_stage(at, fault))?, expect_exit))
                };
                let stages = stages.into_iter().enumerate().map(stage).collect::<Result<_, _>>()?;
                let file = stdout_file.map(|path| self.roots.target(&path)).transpose()?;
                let (timeout, output_bytes) = self.bounds(timeout_ms, max_output_bytes);
                let file_bytes = self.config.sandbox.file_bytes;
                Work::Pipe(Pipe { stages, stdin, file, file_bytes, timeout, output_bytes })
            }
            Action::Start { argv, cwd, env, pty, timeout_ms, display } => {
                let command = self.command(Asked { argv, cwd, env, display, pty })?;
                let HandlesConfig { default_timeout_ms, max_timeout_ms, .. } = &self.config.handles;
                let timeout = timeout_ms.unwrap_or(default_timeout_ms.get()).min(max_timeout_ms.get());
                Work::Start(Start { command, pty, timeout: Duration::from_millis(timeout) })
            }
            Action::List {} => Work::List,
            // Nobody asked, so that there is nobody whose handle it could be.
            Action::Read { handle, .. }
            | Action::Write { handle, .. }
            | Action::Signal { handle, .. }
            | Action::Stop { handle } => return Err(handles::no_handle(&handle)),
        }))
    }

    fn resolve_for(&self, action: Action, asker: &Principal) -> Result<Resolved, Fault> {
        let (handle, what) = match action {
            Action::Read { handle, after, max_bytes, wait_ms, screen } => {
                let (_, most) = self.bounds(None, max_bytes);
                let wait = Duration::from_millis(wait_ms.unwrap_or_default());
                (handle, What::Read { after, most, wait, screen })
            }
            Action::Write { handle, data, end, wait_ms } => {
                let wait = Duration::from_millis(wait_ms.unwrap_or(WRITE_WAIT_MS));
                (handle, What::Write { data, end, wait })
            }
            Action::Signal { handle, signal } => (handle, What::Signal(signal)),
            Action::Stop { handle } => (handle, What::Stop),
            other @ (Action::Run { .. } | Action::Pipe { .. } | Action::Start { .. } | Action::List {}) => {
                return self.resolve(other);
            }
        };
        Ok(Resolved(Work::Use(self.handles.find(asker, &handle, what)?)))
    }

    async fn execute(&self, granted: Granted<Resolved>, cx: &Context) -> Result<Output, Fault> {
        match granted.into_inner().0 {
            Work::Run(run) => run.execute(&self.sandbox, cx).await.map(Output::Run),
            Work::Pipe(pipe) => pipe.execute(&self.sandbox, cx).await.map(Output::Pipe),
            Work::Start(start) => self.handles.start(start, &self.sandbox, cx).await.map(Output::Start),
            Work::List => Ok(Output::List(self.handles.list(cx))),
            Work::Use(used) => match &used.what {
                What::Read { after, most, wait, screen } => {
                    used.read((*after, *most), *wait, *screen, cx).await.map(Output::Read)
                }
                What::Write { data, end, wait } => {
                    used.write(data.as_ref(), *end, *wait, cx).await.map(Output::Write)
                }
                What::Signal(signal) => used.signal(*signal).map(Output::Signal),
                What::Stop => used.stop(&self.handles, cx).await.map(Output::Stop),
            },
        }
    }

    fn lacks(&self, verb: &str) -> Option<String> {
        if verb == "start" { self.handles.lacks() } else { None }
    }

    fn halted(&self) {
        self.handles.stop_all();
    }
}

llm_os_core::inventory::submit!(Registration::of::<Exec>());

impl Exec {
    fn command(&self, asked: Asked) -> Result<Command, Fault> {
        Command::resolve(asked, &self.config, &self.setup, &self.cache)
    }

    /// How long programs may run, and how much of their output is kept.
    fn bounds(&self, timeout_ms: Option<u64>, output_bytes: Option<u64>) -> (Duration, usize) {
        let Config { default_timeout_ms, max_timeout_ms, default_output_bytes, max_output_bytes, .. } =
            &self.config;
        let timeout = timeout_ms.unwrap_or(default_timeout_ms.get()).min(max_timeout_ms.get());
        let bytes = output_bytes.unwrap_or(*default_output_bytes).min(*max_output_bytes);
        (Duration::from_millis(timeout), usize::try_from(bytes).unwrap_or(usize::MAX))
    }
}
