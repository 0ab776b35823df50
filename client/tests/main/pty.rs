//! A terminal of a test's own, which the program under test writes to and reads from.

use std::fs::File;
use std::io::Read;
use std::process::{Command, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::peer::Ran;

/// Both sides of it.
pub(crate) struct Pty {
    /// What a human sees and types.
    pub(crate) terminal: File,
    name: String,
}

impl Pty {
    pub(crate) fn open() -> Self {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let name = ptsname(&terminal, Vec::new()).unwrap().into_string().unwrap();
        Self { terminal: File::from(terminal), name }
    }

    /// An end for the program.
    pub(crate) fn side(&self) -> Stdio {
        Stdio::from(File::options().read(true).write(true).open(&self.name).unwrap())
    }
}

/// Runs it with stdout on a terminal of so many columns; what stood there has the line ends of the program.
pub(crate) fn on_a_terminal(command: &mut Command, columns: u16) -> Ran {
    let mut pty = Pty::open();
    let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&pty.terminal, size).unwrap();
    command.stdin(Stdio::null()).stdout(pty.side()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    // The command keeps its end, and the terminal would never end.
    command.stdout(Stdio::null());
    let mut stdout = Vec::new();
    let mut chunk = [0; 4096];
    // Reading fails with EIO once nobody holds the other side.
    while let Ok(count @ 1..) = pty.terminal.read(&mut chunk) {
        stdout.extend_from_slice(&chunk[..count]);
    }
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(stdout).unwrap().replace("\r\n", "\n"),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}
