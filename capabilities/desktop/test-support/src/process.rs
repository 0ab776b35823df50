//! Programs that end with the value that stands for them.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::PATIENCE;

/// What programs on a display need of their environment.
pub(crate) struct Environment<'a> {
    /// `DISPLAY`, where there is one already.
    pub(crate) display: Option<&'a str>,
    /// `XAUTHORITY`.
    pub(crate) authority: &'a Path,
    /// `HOME`, and where it runs.
    pub(crate) home: &'a Path,
}

/// A running program; killed on drop.
pub struct Program {
    child: Child,
}

impl Program {
    pub(crate) fn start<A: AsRef<OsStr>>(name: &str, arguments: &[A], environment: &Environment<'_>) -> Self {
        Self { child: spawn(name, arguments, environment, Stdio::null()) }
    }

    /// The same with its standard output.
    pub(crate) fn piped<A: AsRef<OsStr>>(
        name: &str,
        arguments: &[A],
        environment: &Environment<'_>,
    ) -> (Self, ChildStdout) {
        let mut child = spawn(name, arguments, environment, Stdio::piped());
        let out = child.stdout.take().expect("standard output is piped");
        (Self { child }, out)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its own end and tells whether it succeeded.
    ///
    /// # Panics
    ///
    /// Where it does not end in 20 seconds.
    pub fn wait(mut self) -> bool {
        crate::until("the end of a program", || self.child.try_wait().expect("a child of ours")).success()
    }

    /// Asks it to end (SIGTERM), and kills it where it does not.
    pub(crate) fn end(&mut self) {
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let deadline = std::time::Instant::now() + PATIENCE / 10;
        while matches!(self.child.try_wait(), Ok(None)) && std::time::Instant::now() < deadline {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `setpriv` asks the kernel to kill the program with the thread that started it, and becomes the program.
fn spawn<A: AsRef<OsStr>>(name: &str, arguments: &[A], environment: &Environment<'_>, out: Stdio) -> Child {
    #[expect(clippy::disallowed_methods, reason = "tests start real programs, which nothing contains")]
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "--", name])
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("LC_ALL", "C.UTF-8")
        .env("HOME", environment.home)
        .env("XAUTHORITY", environment.authority)
        // No program of a test talks to the input methods, services and settings of the machine.
        .envs([("XMODIFIERS", "@im=none"), ("GTK_IM_MODULE", "gtk-im-context-simple")])
        .envs([("NO_AT_BRIDGE", "1"), ("GSETTINGS_BACKEND", "memory"), ("GDK_BACKEND", "x11")])
        .current_dir(environment.home)
        .stdin(Stdio::null())
        .stdout(out);
    if let Some(display) = environment.display {
        command.env("DISPLAY", display);
    }
    command.spawn().unwrap_or_else(|e| panic!("setpriv {name}: {e}"))
}
