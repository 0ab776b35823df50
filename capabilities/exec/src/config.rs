//! `[capabilities.exec]` of the host's configuration, and the rules on environment variables that it cannot lift.

use std::num::NonZeroU64;

use llm_os_core::error::excerpt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What an operator may set.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The environment variables that a plan may set. Names by which a loader, an interpreter or a tool is told to
    /// run or read something else are refused here.
    pub env_allow: Vec<EnvName>,
    /// `PATH` of the programs: absolute directories, separated by colons. The host itself never searches it.
    pub path: SearchPath,
    /// How long a program may run where the plan does not say; at most `max_timeout_ms` counts.
    pub default_timeout_ms: NonZeroU64,
    /// The longest `timeout_ms` that a plan may ask for.
    pub max_timeout_ms: NonZeroU64,
    /// How much is kept of stdout, and of stderr, where the plan does not say; at most `max_output_bytes` counts.
    pub default_output_bytes: u64,
    /// The largest `max_output_bytes` that a plan may ask for.
    pub max_output_bytes: u64,
    /// Programs that go on after the plan that started them.
    pub handles: HandlesConfig,
    /// What holds programs while they run.
    pub sandbox: SandboxConfig,
}

impl Default for Config {
    fn default() -> Self {
        const NAMES: [&str; 7] = ["LANG", "LC_ALL", "TZ", "TERM", "COLUMNS", "LINES", "NO_COLOR"];
        Self {
            env_allow: NAMES.map(|name| EnvName(name.to_owned())).to_vec(),
            path: SearchPath("/usr/local/bin:/usr/bin:/bin".to_owned()),
            default_timeout_ms: const { NonZeroU64::new(30_000).expect("not zero") },
            max_timeout_ms: const { NonZeroU64::new(600_000).expect("not zero") },
            default_output_bytes: 64 * 1024,
            max_output_bytes: 1024 * 1024,
            handles: HandlesConfig::default(),
            sandbox: SandboxConfig::default(),
        }
    }
}

/// `[capabilities.exec.handles]`: programs that go on after the plan that started them.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HandlesConfig {
    /// How many of them one user may have at once, those included that ended and were not stopped.
    pub max_per_user: u64,
    /// After this many seconds without an action on it one is killed and forgotten.
    pub idle_s: NonZeroU64,
    /// How long one may run where the plan does not say; at most `max_timeout_ms` counts.
    pub default_timeout_ms: NonZeroU64,
    /// The longest `timeout_ms` that a plan may ask for.
    pub max_timeout_ms: NonZeroU64,
    /// How much is kept of the output of one, in bytes.
    pub output_bytes: u64,
}

impl Default for HandlesConfig {
    fn default() -> Self {
        Self {
            max_per_user: 16,
            idle_s: const { NonZeroU64::new(900).expect("not zero") },
            default_timeout_ms: const { NonZeroU64::new(3_600_000).expect("not zero") },
            max_timeout_ms: const { NonZeroU64::new(86_400_000).expect("not zero") },
            output_bytes: 16 << 20,
        }
    }
}

/// `[capabilities.exec.sandbox]`: what must hold programs, and their limits.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SandboxConfig {
    /// Layers without which the host does not start. All others are used where they can be had.
    pub require: Vec<Layer>,
    /// The least version of Landlock's interface with which the host starts.
    pub landlock_abi: u32,
    /// Memory that a process may write to, in bytes; with a cgroup, what all processes of an action use.
    pub memory_bytes: u64,
    /// The longest file that a program may write, in bytes.
    pub file_bytes: u64,
    /// Files that a process may have open, at least 256.
    #[serde(deserialize_with = "open_files")]
    pub open_files: u64,
    /// Processes of one action at once, at least 301 (the kernel's own least).
    #[serde(deserialize_with = "processes")]
    pub processes: u64,
    /// Processor time of one process, in seconds.
    pub cpu_s: u64,
    /// The size of the private `/tmp`, in bytes.
    pub temporary_bytes: u64,
}

impl Default for SandboxConfig {
    fn default() -> Self {
        Self {
            require: vec![Layer::NoNewPrivs, Layer::Seccomp, Layer::Landlock],
            landlock_abi: 1,
            memory_bytes: 4 << 30,
            file_bytes: 4 << 30,
            open_files: 1024,
            processes: 1024,
            cpu_s: 600,
            temporary_bytes: 256 << 20,
        }
    }
}

fn open_files<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    at_least(256, deserializer)
}

fn processes<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    at_least(301, deserializer)
}

fn at_least<'de, D: serde::Deserializer<'de>>(least: u64, deserializer: D) -> Result<u64, D::Error> {
    let found = u64::deserialize(deserializer)?;
    let refused = || serde::de::Error::custom(format!("found {found}, expected at least {least}"));
    (found >= least).then_some(found).ok_or_else(refused)
}

/// One layer of what holds a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// No program gains privileges by being started (prctl(2), `PR_SET_NO_NEW_PRIVS`).
    NoNewPrivs,
    /// An allow-list of system calls (seccomp(2)).
    Seccomp,
    /// Files, TCP ports, signals and abstract sockets by rules (landlock(7)).
    Landlock,
    /// Processes that see no others, and die together (pid_namespaces(7)).
    PidNamespace,
    /// A root in which only what may be reached exists, read-only but for what may be written (mount_namespaces(7)).
    MountNamespace,
    /// A network without interfaces (network_namespaces(7)).
    NetworkNamespace,
    /// System V IPC and message queues of one's own (ipc_namespaces(7)).
    IpcNamespace,
    /// A host name of one's own (uts_namespaces(7)).
    UtsNamespace,
    /// Where the host is not root: the capabilities to make the others, which programs do not have (user_namespaces(7)).
    UserNamespace,
    /// Memory, files, processes and processor time of a process (setrlimit(2)).
    Limits,
    /// Memory and processes of an action as a whole (cgroups(7), version 2), where a group is delegated.
    Cgroup,
}

impl Layer {
    /// All layers.
    pub const ALL: [Layer; 11] = [
        Layer::NoNewPrivs,
        Layer::Seccomp,
        Layer::Landlock,
        Layer::PidNamespace,
        Layer::MountNamespace,
        Layer::NetworkNamespace,
        Layer::IpcNamespace,
        Layer::UtsNamespace,
        Layer::UserNamespace,
        Layer::Limits,
        Layer::Cgroup,
    ];

    /// The name in configuration and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Layer::NoNewPrivs => "no_new_privs",
            Layer::Seccomp => "seccomp",
            Layer::Landlock => "landlock",
            Layer::PidNamespace => "pid_namespace",
            Layer::MountNamespace => "mount_namespace",
            Layer::NetworkNamespace => "network_namespace",
            Layer::IpcNamespace => "ipc_namespace",
            Layer::UtsNamespace => "uts_namespace",
            Layer::UserNamespace => "user_namespace",
            Layer::Limits => "limits",
            Layer::Cgroup => "cgroup",
        }
    }
}

/// The name of an environment variable that plans may be allowed to set.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub struct EnvName(String);

impl EnvName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for EnvName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let mut bytes = name.bytes();
        let starts = bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
        if !starts || !bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_') || name.len() > 128 {
            return Err(format!(
                "\"{}\" is not the name of a variable, expected [A-Za-z_][A-Za-z0-9_]*",
                excerpt(&name)
            ));
        }
        match REDIRECTS.iter().find(|(pattern, _)| matches(pattern, &name)) {
            Some((_, what)) => Err(format!("\"{name}\" can never be set by a plan: {what}")),
            None => Ok(Self(name)),
        }
    }
}

/// Variables that make an allowed program run or load something else, with what they tell. `*` stands at the end for
/// any rest. The families are those of sudo's `env_delete` (sudoers(5)), with what came after it.
const REDIRECTS: &[(&str, &str)] = &[
    ("LD_*", "the dynamic loader is told by it what to load"),
    ("_RLD*", "the dynamic loader is told by it what to load"),
    ("DYLD_*", "the dynamic loader is told by it what to load"),
    ("GLIBC_TUNABLES", "the C library is told by it how to work"),
    ("GCONV_PATH", "the C library is told by it what to load"),
    ("GETCONF_DIR", "the C library is told by it what to load"),
    ("LOCPATH", "the C library is told by it what to load"),
    ("NLSPATH", "the C library is told by it what to load"),
    ("MALLOC_*", "the C library is told by it how to work"),
    ("HOSTALIASES", "the resolver is told by it what to read"),
    ("LOCALDOMAIN", "the resolver is told by it how to work"),
    ("RES_OPTIONS", "the resolver is told by it how to work"),
    ("TERMINFO*", "terminal libraries are told by it what to read"),
    ("TERMCAP", "terminal libraries are told by it what to read"),
    ("TERMPATH", "terminal libraries are told by it what to read"),
    ("PATH", "programs are found by it; set capabilities.exec.path instead"),
    ("CDPATH", "shells are told by it where to go"),
    ("ENV", "shells are told by it what to run"),
    ("BASH*", "shells are told by it what to run"),
    ("SHELL", "programs are told by it which shell to run"),
    ("SHELLOPTS", "shells are told by it how to work"),
    ("IFS", "shells are told by it how to read"),
    ("PS4", "shells are told by it what to run"),
    ("PROMPT_COMMAND", "shells are told by it what to run"),
    ("GLOBIGNORE", "shells are told by it how to work"),
    ("FPATH", "shells are told by it what to load"),
    ("ZDOTDIR", "shells are told by it what to run"),
    ("NULLCMD", "shells are told by it what to run"),
    ("READNULLCMD", "shells are told by it what to run"),
    ("HOME", "programs read settings below it, and settings can name programs"),
    ("XDG_*", "programs read settings below it, and settings can name programs"),
    ("PYTHON*", "an interpreter is told by it what to load"),
    ("PERL*", "an interpreter is told by it what to load"),
    ("RUBY*", "an interpreter is told by it what to load"),
    ("GEM_*", "an interpreter is told by it what to load"),
    ("BUNDLE_*", "an interpreter is told by it what to load"),
    ("LUA_*", "an interpreter is told by it what to load"),
    ("NODE_*", "an interpreter is told by it what to load"),
    ("NPM_*", "a tool is told by it what to run"),
    ("npm_*", "a tool is told by it what to run"),
    ("PHP*", "an interpreter is told by it what to load"),
    ("TCL*", "an interpreter is told by it what to load"),
    ("JAVA_*", "an interpreter is told by it what to load"),
    ("_JAVA_OPTIONS", "an interpreter is told by it what to load"),
    ("JDK_*", "an interpreter is told by it what to load"),
    ("CLASSPATH", "an interpreter is told by it what to load"),
    ("DOTNET_*", "an interpreter is told by it what to load"),
    ("AWK*", "an interpreter is told by it what to load"),
    ("GIT_*", "a tool is told by it what to run"),
    ("SSH_*", "a tool is told by it what to run, or whose keys to use"),
    ("RSYNC_*", "a tool is told by it what to run"),
    ("CARGO_*", "a tool is told by it what to run"),
    ("RUSTC*", "a tool is told by it what to run"),
    ("MAKE*", "a tool is told by it what to run"),
    ("EDITOR", "tools are told by it what to run"),
    ("VISUAL", "tools are told by it what to run"),
    ("BROWSER", "tools are told by it what to run"),
    ("PAGER", "tools are told by it what to run"),
    ("MANPAGER", "tools are told by it what to run"),
    ("DISPLAY", "a display is given by \"display\", where policy allows it"),
    ("WAYLAND_*", "a display is given by \"display\", where policy allows it"),
    ("XAUTHORITY", "a display is given by \"display\", where policy allows it"),
    ("SYSTEMD_*", "tools are told by it what to run"),
    ("LESS*", "a pager is told by it what to run"),
    ("TAR_OPTIONS", "a tool is told by it what to run"),
    ("RIPGREP_CONFIG_PATH", "a tool is told by it what to run"),
    ("VIMINIT", "an editor is told by it what to run"),
    ("EXINIT", "an editor is told by it what to run"),
];

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    }
}

/// A `PATH` without surprises: absolute directories only, so that no working directory is ever searched.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub struct SearchPath(String);

impl SearchPath {
    /// The text as it stands in the environment.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for SearchPath {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.split(':').find(|dir| !dir.starts_with('/') || dir.contains('\0')) {
            Some(dir) => {
                Err(format!("found \"{}\", expected absolute directories separated by \":\"", excerpt(dir)))
            }
            None => Ok(Self(text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use llm_os_core::json::Json;

    fn read(text: &str) -> Result<Config, String> {
        Json::parse(text.as_bytes()).unwrap().read::<Config>().map_err(|e| e.to_string())
    }

    #[test]
    fn nothing_configured_is_the_default() {
        let config = read("{}").unwrap();
        assert_eq!(config.env_allow.len(), 7);
        assert_eq!(config.default_timeout_ms.get(), 30_000);
    }

    #[test]
    fn names_that_redirect_a_program_cannot_be_allowed() {
        let redirecting = "LD_PRELOAD LD_AUDIT GCONV_PATH BASH_ENV ENV PYTHONPATH PYTHONSTARTUP PERL5OPT RUBYOPT \
             NODE_OPTIONS JAVA_TOOL_OPTIONS GIT_SSH_COMMAND GIT_PAGER PAGER EDITOR LESSOPEN LOCPATH NLSPATH \
             MALLOC_CHECK_ GLIBC_TUNABLES PATH IFS SSH_AUTH_SOCK PROMPT_COMMAND DISPLAY WAYLAND_DISPLAY XAUTHORITY";
        for name in redirecting.split_whitespace() {
            let error = read(&format!(r#"{{"env_allow":["{name}"]}}"#)).unwrap_err();
            assert!(error.starts_with("$.env_allow[0]: ") && error.contains(name), "{error}");
        }
        for name in ["", "A=B", "1A", "A B", "BASH_FUNC_x%%", "A\\u0000B"] {
            let error = read(&format!(r#"{{"env_allow":["{name}"]}}"#)).unwrap_err();
            assert!(error.starts_with("$.env_allow[0]: "), "{error}");
        }
        assert_eq!(read(r#"{"env_allow":["MY_APP_MODE"]}"#).unwrap().env_allow[0].as_str(), "MY_APP_MODE");
    }

    #[test]
    fn a_path_with_a_relative_directory_is_refused() {
        for path in ["", ".", "/usr/bin:", ":/usr/bin", "/usr/bin:bin"] {
            assert!(read(&format!(r#"{{"path":"{path}"}}"#)).unwrap_err().starts_with("$.path: "), "{path}");
        }
    }

    #[test]
    fn unknown_keys_and_impossible_times_are_refused() {
        assert!(read(r#"{"shell":true}"#).unwrap_err().contains("shell"));
        assert!(read(r#"{"max_timeout_ms":0}"#).unwrap_err().starts_with("$.max_timeout_ms: "));
    }
}
