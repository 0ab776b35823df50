//! A Wayland compositor of a test's own: sway without a screen.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use llm_os_core::Display;
use tempfile::TempDir;

use crate::until;

/// Tells the process in which the test itself runs where the compositor is.
const WHERE: &str = "LLM_OS_TEST_COMPOSITOR";

/// `nobody` on Debian: sway refuses to run as root.
const NOBODY: u32 = 65_534;

/// A compositor of the test's own, as the test sees it.
pub struct TestCompositor {
    dir: PathBuf,
    socket: String,
}

/// A program on a compositor, and what it wrote down.
pub struct Transcript {
    /// Ends with this value.
    _program: Ended,
    file: PathBuf,
}

impl TestCompositor {
    /// Runs a test inside of a compositor with these outputs, `("1280x800", "0 0", "1")` being size, position and scale.
    ///
    /// `enigo` reads `XDG_RUNTIME_DIR`, which no thread may set: so the test is started again as a process of its own, by
    /// its full name, with that in its environment.
    ///
    /// # Panics
    ///
    /// Where sway or foot are missing, and where the test fails.
    #[track_caller]
    pub fn within(test: &str, outputs: &[(&str, &str, &str)], body: impl FnOnce(&Self)) {
        if let Some(dir) = std::env::var_os(WHERE) {
            let dir = PathBuf::from(dir);
            let socket = socket(&dir, "wayland-").expect("a compositor");
            return body(&Self { dir, socket });
        }
        let dir = tempfile::Builder::new().prefix("wayland-").tempdir().expect("a temporary directory");
        let _sway = start(&dir, outputs);
        #[expect(clippy::disallowed_methods, reason = "a test starts itself again")]
        let status = Command::new(std::env::current_exe().expect("this test's program"))
            .args([test, "--exact", "--nocapture", "--include-ignored"])
            .env("XDG_RUNTIME_DIR", dir.path())
            .env(WHERE, dir.path())
            .status()
            .expect("the test's program");
        assert!(status.success(), "{test} failed in the compositor");
    }

    /// For a host's `Setup`; its id is `wayland`.
    pub fn display(&self) -> Display {
        Display { id: "wayland".to_owned(), name: self.socket.clone(), authority: None }
    }

    /// A directory for what programs write; gone with the compositor.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A foot whose program writes each byte of its terminal to a file, once it has the focus. The terminal is raw: Return
    /// is `\r`.
    pub fn foot_reader(&self) -> Transcript {
        let file = self.dir.join("foot");
        let script = format!("stty raw -echo && exec cat >'{}'", file.display());
        let program = self.spawn(&["foot", "/bin/sh", "-c", &script]);
        until("a terminal that reads and has the focus", || {
            (file.exists() && self.focused().contains("foot")).then_some(())
        });
        Transcript { _program: program, file }
    }

    /// A window over the whole output that writes down what the pointer does: lines of wev(1).
    pub fn pointer_log(&self) -> Transcript {
        let file = self.dir.join("wev");
        let script = format!("exec stdbuf -oL wev >'{}'", file.display());
        let program = self.spawn(&["/bin/sh", "-c", &script]);
        until("a window that has the focus", || self.focused().contains("wev").then_some(()));
        Transcript { _program: program, file }
    }

    /// Tells sway to do something, such as to give an output another size.
    ///
    /// # Panics
    ///
    /// Where it does not.
    pub fn tell(&self, command: &str) {
        let answer = self.ask(&[command]);
        assert!(answer.contains("\"success\": true"), "{command}: {answer}");
    }

    /// Stops the compositor for good.
    pub fn end(&self) {
        let _ = self.ask(&["exit"]);
    }

    /// The `app_id` of the window that has the focus.
    fn focused(&self) -> String {
        let tree = self.ask(&["-t", "get_tree"]);
        let found =
            tree.split("\"focused\": true").skip(1).find_map(|after| after.split("\"app_id\": ").nth(1));
        found.and_then(|rest| rest.lines().next()).unwrap_or_default().to_owned()
    }

    fn ask(&self, arguments: &[&str]) -> String {
        let Some(socket) = socket(&self.dir, "sway-ipc.") else { return String::new() };
        let mut command = ordinary(&self.dir, &[&["swaymsg"], arguments].concat());
        let output = command.env("SWAYSOCK", self.dir.join(socket)).output().expect("swaymsg");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn spawn(&self, arguments: &[&str]) -> Ended {
        let mut command = ordinary(&self.dir, arguments);
        command.env("WAYLAND_DISPLAY", &self.socket).stdout(Stdio::null()).stderr(Stdio::null());
        Ended(command.spawn().unwrap_or_else(|e| panic!("{}: {e}", arguments[0])))
    }
}

impl Transcript {
    /// What was written down so far.
    ///
    /// # Panics
    ///
    /// Where the file is gone.
    pub fn content(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.file).expect("the program's file")).into_owned()
    }

    /// Waits until the marker was written, and gives everything up to now.
    ///
    /// # Panics
    ///
    /// Where it was not after 20 seconds.
    #[track_caller]
    pub fn read_until(&self, marker: &str) -> String {
        let mut last = String::new();
        let wanted = format!("{marker:?} in what the program wrote down");
        until(&wanted, || {
            let now = self.content();
            if now != last {
                last.clone_from(&now);
                eprintln!("{} bytes were written down", now.len());
            }
            now.contains(marker).then_some(now)
        })
    }
}

fn start(dir: &TempDir, outputs: &[(&str, &str, &str)]) -> Ended {
    let dir = dir.path();
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).expect("a directory of ours");
    if rustix::process::geteuid().is_root() {
        chown(dir, Some(NOBODY), Some(NOBODY)).expect("a directory for nobody");
    }
    let mut lines = vec!["xwayland disable\ndefault_border none\nfocus_follows_mouse no\n".to_owned()];
    for (index, (size, position, scale)) in outputs.iter().enumerate() {
        let number = index + 1;
        lines.push(format!("output HEADLESS-{number} resolution {size} position {position} scale {scale}\n"));
    }
    let config = dir.join("config");
    fs::write(&config, lines.concat()).expect("a configuration");
    fs::set_permissions(&config, fs::Permissions::from_mode(0o644)).expect("a file of ours");
    let mut command = ordinary(dir, &["sway", "-c", config.to_str().expect("a path in UTF-8")]);
    command
        .envs([("WLR_BACKENDS", "headless"), ("WLR_RENDERER", "pixman"), ("WLR_LIBINPUT_NO_DEVICES", "1")])
        .env("WLR_HEADLESS_OUTPUTS", outputs.len().to_string())
        .stderr(Stdio::null());
    let sway = Ended(command.spawn().expect("setpriv starts sway"));
    until("a compositor with its outputs (sway and swaymsg, as an ordinary user)", || {
        let compositor = TestCompositor { dir: dir.to_owned(), socket: socket(dir, "wayland-")? };
        let shown = compositor.ask(&["-t", "get_outputs"]);
        (shown.matches("\"active\": true").count() == outputs.len()).then_some(())
    });
    sway
}

/// A command as an ordinary user that ends with whoever started it.
fn ordinary(dir: &Path, arguments: &[&str]) -> Command {
    #[expect(clippy::disallowed_methods, reason = "tests start real programs, which nothing contains")]
    let mut command = Command::new("setpriv");
    if rustix::process::geteuid().is_root() {
        let id = NOBODY.to_string();
        command.args(["--reuid", &id, "--regid", &id, "--clear-groups"]);
    }
    command
        .args(["--pdeathsig", "KILL", "--"])
        .args(arguments)
        .env_clear()
        .envs([("PATH", "/usr/local/bin:/usr/bin:/bin"), ("LC_ALL", "C.UTF-8")])
        .env("HOME", dir)
        .env("XDG_RUNTIME_DIR", dir)
        .current_dir(dir)
        .stdin(Stdio::null());
    command
}

/// The name of the socket that begins so.
fn socket(dir: &Path, prefix: &str) -> Option<String> {
    let entries = fs::read_dir(dir).ok()?.flatten();
    let mut names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.find(|name| name.starts_with(prefix) && !name.ends_with(".lock"))
}

/// A process that ends with this value.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
