//! A program bound to what a plan names: its file, its interpreter, its directory.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use llm_os_core::path::WirePath;
use llm_os_core::{Display, Effect, Effectful, Effects, Fault, Identity, Resource, Secret, Setup, Verb};

use crate::config::Config;
use crate::display;
use crate::image::Cache;
use crate::neutral;
use crate::program::Runnable;
use crate::sandbox::Contained;
use crate::spawn::{Program, Tree};
use crate::walk::{self, Found};

/// What a plan says of a program.
pub(crate) struct Asked {
    pub(crate) argv: Vec<String>,
    pub(crate) cwd: Option<WirePath>,
    pub(crate) env: BTreeMap<String, Secret>,
    pub(crate) display: bool,
    /// It gets a terminal of its own.
    pub(crate) pty: bool,
}

/// A program with everything it gets but its streams, ready to be judged and then to run.
pub(crate) struct Command {
    runnable: Runnable,
    /// As the plan states it.
    argv: Vec<String>,
    env: Vec<CString>,
    pub(crate) display: Option<Display>,
    cwd: Directory,
}

struct Directory {
    /// Held open, so that its inode is not used for another one meanwhile.
    _fd: OwnedFd,
    path: CString,
    inode: (u64, u64),
    resource: Resource,
}

impl Command {
    /// Opens what a validated action names.
    pub(crate) fn resolve(
        asked: Asked,
        config: &Config,
        setup: &Setup,
        cache: &Cache,
    ) -> Result<Self, Fault> {
        let Asked { argv, cwd, env, display, pty } = asked;
        let display = if display { Some(display::given(setup.display.as_ref())?.clone()) } else { None };
        let Some(program) = argv.first() else { return Err(Fault::invalid("argv", "found no program")) };
        let mut runnable = Runnable::open(program, cache).map_err(|fault| fault.at("argv[0]"))?;
        let cwd = match cwd {
            Some(cwd) => Directory::open(&cwd.bytes("cwd")?).map_err(|fault| fault.at("cwd"))?,
            None => {
                let root = setup
                    .roots
                    .first()
                    .map_or(b"/".as_slice(), |root| root.path.as_os_str().as_encoded_bytes());
                Directory::open(root).map_err(|fault| fault.at("cwd"))?
            }
        };
        let neutral = neutral::neutralise(&mut runnable, program, cwd.path.as_bytes());
        let env = environment(env, config, display.as_ref(), pty, neutral)?;
        Ok(Self { runnable, argv, env, display, cwd })
    }

    /// Its arguments, as the plan states them.
    pub(crate) fn argv(&self) -> &[String] {
        &self.argv
    }

    /// Starts it with these standard streams; with `tty` the first is a terminal that becomes its controlling one.
    pub(crate) fn spawn(
        &self,
        stdio: [BorrowedFd<'_>; 3],
        tty: bool,
        contained: &Contained,
    ) -> io::Result<Tree> {
        let (program, script, argv) = match &self.runnable {
            Runnable::Binary(program) => (program.image()?, None, self.argv.clone()),
            Runnable::Script { script, interpreter, .. } => {
                (interpreter.image()?, Some(script.image()?), self.interpreter_argv("/proc/self/fd/3"))
            }
        };
        let argv = argv.into_iter().map(CString::new).collect::<Result<Vec<_>, _>>()?;
        contained.start(&Program {
            image: program.as_fd(),
            argv: &argv,
            env: &self.env,
            directory: &self.cwd.path,
            directory_identity: self.cwd.inode,
            stdio,
            script: script.as_ref().map(OwnedFd::as_fd),
            tty,
        })
    }

    /// What the interpreter of a script gets, as the kernel would pass it (execve(2)); `script` is how it is spelled.
    fn interpreter_argv(&self, script: &str) -> Vec<String> {
        let Runnable::Script { named, argument, .. } = &self.runnable else { return self.argv.clone() };
        let line = [named].into_iter().chain(argument).cloned();
        line.chain([script.to_owned()]).chain(self.argv.iter().skip(1).cloned()).collect()
    }
}

impl Effectful for Command {
    fn effects(&self) -> Effects {
        let cwd = &self.cwd.resource.id;
        let run = match &self.runnable {
            Runnable::Binary(program) => Effects::one(program.run(&self.argv, cwd)),
            Runnable::Script { script, interpreter, .. } => Effects::one(script.run(&self.argv, cwd))
                .and(interpreter.run(&self.interpreter_argv(&script.path()), cwd)),
        };
        let (device, inode) = self.cwd.inode;
        let identity = Identity::new(format!("{device}:{inode}"));
        let run = run.and(Effect::new(Verb::Observe, self.cwd.resource.clone(), identity));
        match &self.display {
            Some(display) => display::effects(display, run),
            None => run,
        }
    }
}

impl Directory {
    fn open(path: &[u8]) -> Result<Self, Fault> {
        let Found { file: fd, real, stat, .. } = walk::open_directory(path)?;
        let text =
            CString::new(real.as_slice()).map_err(|_| Fault::invalid("", "a path holds a NUL character"))?;
        Ok(Self { _fd: fd, path: text, inode: (stat.st_dev, stat.st_ino), resource: Resource::path(&real) })
    }
}

/// The whole environment of a program, from nothing: fixed values, what the plan may set, the way to the display, and what
/// keeps the program from running what its folder names.
fn environment(
    given: BTreeMap<String, Secret>,
    config: &Config,
    display: Option<&Display>,
    pty: bool,
    neutral: Vec<(String, String)>,
) -> Result<Vec<CString>, Fault> {
    let mut env: BTreeMap<String, String> = BTreeMap::from(
        [
            ("PATH", config.path.as_str()),
            ("HOME", "/nonexistent"),
            ("LANG", "C.UTF-8"),
            ("TERM", if pty { "xterm" } else { "dumb" }),
            ("TZ", "UTC"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    env.extend(given.into_iter().map(|(name, value)| (name, value.into_exposed())));
    env.extend(display.into_iter().flat_map(display::variables));
    env.extend(neutral);
    let texts = env.into_iter().map(|(name, value)| CString::new(format!("{name}={value}")));
    texts.collect::<Result<_, _>>().map_err(|_| Fault::invalid("env", "a value holds a NUL character"))
}
