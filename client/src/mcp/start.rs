//! `--start-host`: a host where none answers.

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::connection::{Host, Sockets};
use crate::exit::Failure;
use crate::mcp::token;
use crate::screen::say;

const HOST: &str = "llm-osd";
/// How long a host may take until it answers.
const PATIENCE: Duration = Duration::from_secs(10);
/// Two may start a host at once, and the second one ends: for so long the first one may take until it answers.
const RIVAL: Duration = Duration::from_secs(3);

/// Starts `llm-osd` unless a host answers already, and waits until it does. It goes on when this process ends.
pub(crate) fn start(host: &Host, sockets: &Sockets) -> Result<(), Failure> {
    if answers(host)? {
        return Ok(());
    }
    let (socket, _) = host.place();
    let program = beside().unwrap_or_else(|| PathBuf::from(HOST));
    let cannot =
        |e: std::io::Error| Failure::Usage(format!("--start-host: cannot start {}: {e}", program.display()));
    let log = log();
    #[allow(clippy::disallowed_methods, reason = "the host contains programs; nothing contains the host")]
    let mut command = Command::new(&program);
    // The host has no use for it.
    command.env_remove(token::VARIABLE).arg("--socket").arg(socket);
    if let Some(approval) = sockets.named_approval() {
        command.arg("--approval-socket").arg(approval);
    }
    let stderr = log.as_ref().map_or_else(Stdio::inherit, |(_, file)| {
        file.try_clone().map_or_else(|_| Stdio::inherit(), Stdio::from)
    });
    // A group of its own: what ends the client with a signal to its group must not end the host.
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
    let mut child = command.spawn().map_err(cannot)?;
    let place =
        log.map_or_else(|| "its words are above".to_owned(), |(path, _)| format!("see {}", path.display()));
    let began = Instant::now();
    loop {
        if answers(host)? {
            say(&format!("started {}", program.display()));
            return Ok(());
        }
        let ended = child.try_wait().map_err(cannot)?.filter(|_| began.elapsed() > RIVAL);
        if let Some(status) = ended {
            return Err(Failure::NoAnswer(format!(
                "--start-host: {} ended ({status}); {place}",
                program.display()
            )));
        }
        if began.elapsed() > PATIENCE {
            return Err(Failure::NoAnswer(format!(
                "--start-host: {} does not answer at {}; {place}",
                program.display(),
                socket.display()
            )));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn answers(host: &Host) -> Result<bool, Failure> {
    match host.ask("host.ping", &json!({}), None) {
        Ok(_) => Ok(true),
        Err(Failure::NoHost { .. }) => Ok(false),
        Err(other) => Err(other),
    }
}

/// The one that lies beside this program.
fn beside() -> Option<PathBuf> {
    Some(std::env::current_exe().ok()?.with_file_name(HOST)).filter(|path| path.is_file())
}

/// The file for the host's words, in the folder of its state.
fn log() -> Option<(PathBuf, File)> {
    let folder = token::state()?;
    DirBuilder::new().recursive(true).mode(0o700).create(&folder).ok()?;
    let path = folder.join("llm-osd.log");
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path).ok()?;
    Some((path, file))
}
