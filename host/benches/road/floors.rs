//! The floors: the least that could be done for a request, each a server on a Unix socket in a process of its own.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};

use rustix::fs::{CWD, FileType, Mode, OFlags, RawDir, openat};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot;

use crate::daemon::Places;
use crate::forest::SOUGHT;
use crate::measure::append_durably;

/// Tells a process of this binary which floor it is.
const FLOOR: &str = "ROAD_FLOOR";
const SOCKET: &str = "ROAD_SOCKET";
const FILE: &str = "ROAD_FILE";
const LOG: &str = "ROAD_LOG";

/// What a floor does for each line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Floor {
    /// Writes the line back.
    Echo,
    /// Reads a file of 4 KiB, appends 500 bytes and waits for `fdatasync`, and answers with the file as a JSON string.
    Read,
    /// Starts `/bin/true` (`posix_spawn`), waits for it, appends 500 bytes and waits for `fdatasync`.
    Spawn,
    /// Hands 500 bytes to the one thread that appends what has come and waits for one `fdatasync` for all of it.
    GroupCommit,
    /// Appends 500 bytes and waits for `fdatasync`, one request after another, as a log in order needs.
    SyncEach,
    /// Walks the directory that the request names and answers with the paths of the files that have a name of [`SOUGHT`].
    Walk,
}

impl Floor {
    const ALL: [Self; 6] =
        [Self::Echo, Self::Read, Self::Spawn, Self::GroupCommit, Self::SyncEach, Self::Walk];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo of the line",
            Self::Read => "read, append, `fdatasync`",
            Self::Spawn => "`posix_spawn`, wait, append, `fdatasync`",
            Self::GroupCommit => "group commit",
            Self::SyncEach => "one `fdatasync` a request",
            Self::Walk => "`getdents64`, names compared",
        }
    }
}

/// A floor that runs; it ends when this is dropped.
pub(crate) struct FloorServer {
    pub(crate) socket: PathBuf,
    process: Child,
}

impl FloorServer {
    pub(crate) fn start(places: &Places, floor: Floor) -> Self {
        let name = format!("{floor:?}");
        let socket = places.sockets().join(&name);
        let process = Command::new(std::env::current_exe().unwrap())
            .env(FLOOR, &name)
            .env(SOCKET, &socket)
            .env(FILE, places.file())
            .env(LOG, places.data().join(format!("{name}.log")))
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self { socket, process }
    }
}

impl Drop for FloorServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_file(&self.socket);
    }
}

/// The floor that this process is to be, if any.
pub(crate) fn asked_for() -> Option<Floor> {
    let name = std::env::var(FLOOR).ok()?;
    Floor::ALL.into_iter().find(|floor| format!("{floor:?}") == name)
}

/// Serves until the process is killed, on a runtime of the daemon's kind and size.
pub(crate) fn serve(floor: Floor) {
    let path = |name| PathBuf::from(std::env::var_os(name).unwrap());
    let workers = std::thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 8));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = UnixListener::bind(path(SOCKET)).unwrap();
        let server = Arc::new(Server::new(floor, path(FILE), &path(LOG)));
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(connection(stream, server.clone()));
        }
    });
}

async fn connection(mut stream: UnixStream, server: Arc<Server>) -> io::Result<()> {
    let (reader, mut writer) = stream.split();
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).await? != 0 {
        server.answer(&mut line).await;
        writer.write_all(&line).await?;
        line.clear();
    }
    Ok(())
}

struct Server {
    floor: Floor,
    file: PathBuf,
    log: Mutex<File>,
    /// To the thread of [`Floor::GroupCommit`].
    waiting: mpsc::Sender<oneshot::Sender<()>>,
}

impl Server {
    fn new(floor: Floor, file: PathBuf, log: &Path) -> Self {
        let log = File::options().append(true).create(true).open(log).unwrap();
        let (waiting, requests) = mpsc::channel();
        if floor == Floor::GroupCommit {
            let log = log.try_clone().unwrap();
            std::thread::spawn(move || commit_groups(&requests, &log));
        }
        Self { floor, file, log: Mutex::new(log), waiting }
    }

    /// Turns a line into its answer. The calls block, as those of the daemon do: handing over would cost more.
    async fn answer(&self, line: &mut Vec<u8>) {
        match self.floor {
            Floor::Echo => {}
            Floor::Read => {
                let text = String::from_utf8(fs::read(&self.file).unwrap()).unwrap();
                append_durably(&self.log.lock().unwrap(), 1);
                line.clear();
                serde_json::to_writer(&mut *line, &text).unwrap();
                line.push(b'\n');
            }
            Floor::Spawn => {
                Command::new("/bin/true").stdin(Stdio::null()).spawn().unwrap().wait().unwrap();
                append_durably(&self.log.lock().unwrap(), 1);
            }
            Floor::GroupCommit => {
                let (done, committed) = oneshot::channel();
                self.waiting.send(done).unwrap();
                committed.await.unwrap();
            }
            Floor::SyncEach => append_durably(&self.log.lock().unwrap(), 1),
            Floor::Walk => {
                let request: Value = serde_json::from_slice(line).unwrap();
                let top = request["actions"][0]["params"]["path"].as_str().unwrap();
                let mut found = Vec::new();
                walk(CWD, top, top, &mut found);
                line.clear();
                serde_json::to_writer(&mut *line, &found).unwrap();
                line.push(b'\n');
            }
        }
    }
}

/// Walks what is below a directory, and collects the paths of the files that have a name that is sought.
fn walk(above: BorrowedFd<'_>, name: &str, path: &str, found: &mut Vec<String>) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = openat(above, name, flags, Mode::empty()).unwrap();
    let mut buffer = Vec::with_capacity(32 << 10);
    let mut entries = RawDir::new(&dir, buffer.spare_capacity_mut());
    let mut below = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry.unwrap();
        let name = entry.file_name().to_str().unwrap();
        if entry.file_type() == FileType::Directory {
            if name != "." && name != ".." {
                below.push(name.to_owned());
            }
        } else if SOUGHT.contains(&name) {
            found.push(format!("{path}/{name}"));
        }
    }
    for name in below {
        walk(dir.as_fd(), &name, &format!("{path}/{name}"), found);
    }
}

fn commit_groups(requests: &mpsc::Receiver<oneshot::Sender<()>>, log: &File) {
    while let Ok(first) = requests.recv() {
        let group: Vec<_> = std::iter::once(first).chain(requests.try_iter()).collect();
        append_durably(log, group.len());
        for done in group {
            let _ = done.send(());
        }
    }
}
