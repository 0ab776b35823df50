//! Windows, as policies see them.

use std::fmt;
use std::path::PathBuf;

use llm_os_core::{Effect, Fact, FactSpec, FactType, Identity, Resource, Verb};
use schemars::JsonSchema;
use serde::Serialize;

use crate::geometry::Rect;
use crate::process::Process;

/// A window at the top level of its program, or the root window behind all others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// The display that it is on, by its id in policies.
    pub display: String,
    /// The X id of the program's window.
    pub id: u32,
    /// The X id of the child of the root that holds it: itself, or the frame that a window manager gave it.
    pub frame: u32,
    /// The class (second string of `WM_CLASS`, ICCCM 4.1.2.5), empty where there is none.
    pub class: String,
    /// The instance (first string of `WM_CLASS`).
    pub instance: String,
    /// The title (`_NET_WM_NAME`, else `WM_NAME`).
    pub title: String,
    /// The process that made the window, from the X server (XRes 1.2), not from the window.
    pub pid: Option<u32>,
    /// The real path of that process's program.
    pub executable: Option<PathBuf>,
    /// When that process began.
    pub started: Option<u64>,
    /// What it is for, as far as that matters to a policy.
    pub role: Role,
    /// Where it is, its frame included.
    pub rect: Rect,
}

/// What a window is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// A program's window, none of the others.
    Application,
    /// A terminal emulator: by class, or because its process holds a pseudoterminal's master.
    Terminal,
    /// Starts programs: menus, run dialogs, panels, docks.
    Launcher,
    /// Asks for a password or a permission.
    Prompt,
    /// Holds secrets: a password manager, a locked screen.
    Vault,
    /// Shows a confirmation of this host. No policy can permit anything on it.
    Approval,
    /// The desktop behind all windows.
    Desktop,
    /// Its process is unknown or may not be inspected.
    Unknown,
}

impl Role {
    /// As policies and answers spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Application => "application",
            Role::Terminal => "terminal",
            Role::Launcher => "launcher",
            Role::Prompt => "prompt",
            Role::Vault => "vault",
            Role::Approval => "approval",
            Role::Desktop => "desktop",
            Role::Unknown => "unknown",
        }
    }

    /// By what the kernel says of the process, then by what the window says of itself; `kind` is the local name of its
    /// `_NET_WM_WINDOW_TYPE`.
    pub(crate) fn of(process: Option<&Process>, class: &str, instance: &str, kind: Option<&str>) -> Self {
        let among = |names: &[&str]| {
            names.iter().any(|name| class.eq_ignore_ascii_case(name) || instance.eq_ignore_ascii_case(name))
        };
        match process {
            Some(process) if process.approves => return Role::Approval,
            Some(process) if process.terminal => return Role::Terminal,
            _ => {}
        }
        if among(PROMPTS) {
            return Role::Prompt;
        }
        if among(VAULTS) {
            return Role::Vault;
        }
        if among(TERMINALS) {
            return Role::Terminal;
        }
        if among(LAUNCHERS) || matches!(kind, Some("DOCK" | "TOOLBAR")) {
            return Role::Launcher;
        }
        match (process, kind) {
            (_, Some("DESKTOP")) => Role::Desktop,
            (Some(_), _) => Role::Application,
            (None, _) => Role::Unknown,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

const TERMINALS: &[&str] = &[
    "xterm",
    "uxterm",
    "urxvt",
    "rxvt",
    "st",
    "st-256color",
    "alacritty",
    "kitty",
    "foot",
    "konsole",
    "yakuake",
    "gnome-terminal",
    "gnome-terminal-server",
    "org.gnome.terminal",
    "kgx",
    "org.gnome.console",
    "ptyxis",
    "tilix",
    "terminator",
    "xfce4-terminal",
    "lxterminal",
    "qterminal",
    "mate-terminal",
    "guake",
    "tilda",
    "wezterm",
    "org.wezfurlong.wezterm",
    "ghostty",
    "com.mitchellh.ghostty",
    "cool-retro-term",
    "terminology",
    "eterm",
];

const LAUNCHERS: &[&str] = &[
    "dmenu",
    "rofi",
    "wofi",
    "gmrun",
    "krunner",
    "ulauncher",
    "albert",
    "synapse",
    "kupfer",
    "xfce4-appfinder",
    "xfrun4",
    "lxqt-runner",
    "plasmashell",
    "xfce4-panel",
    "mate-panel",
    "lxpanel",
    "lxqt-panel",
    "gnome-shell",
    "polybar",
    "tint2",
    "i3bar",
    "jgmenu",
];

const PROMPTS: &[&str] = &[
    "pinentry",
    "pinentry-gtk-2",
    "pinentry-gnome3",
    "pinentry-qt",
    "gcr-prompter",
    "ssh-askpass",
    "x11-ssh-askpass",
    "gnome-ssh-askpass",
    "gnome-ssh-askpass2",
    "ksshaskpass",
    "lxqt-openssh-askpass",
    "kwalletd5",
    "kwalletd6",
    "polkit-gnome-authentication-agent-1",
    "polkit-mate-authentication-agent-1",
    "polkit-kde-authentication-agent-1",
    "lxqt-policykit-agent",
    "xfce-polkit",
    "lxqt-sudo",
    "gksu",
    "kdesu",
    "zenity",
    "kdialog",
    "yad",
    "xmessage",
];

const VAULTS: &[&str] = &[
    "keepassxc",
    "keepass2",
    "bitwarden",
    "1password",
    "seahorse",
    "org.gnome.seahorse.application",
    "kwalletmanager5",
    "i3lock",
    "slock",
    "xscreensaver",
    "xsecurelock",
    "xtrlock",
    "light-locker",
    "gnome-screensaver",
    "swaylock",
];

/// The facts of every effect on a window; an effect on a whole display states them empty.
pub const FACTS: [FactSpec; 6] = [
    FactSpec {
        name: "class",
        ty: FactType::Text,
        doc: "The window's class (WM_CLASS); its program chose it.",
    },
    FactSpec {
        name: "instance",
        ty: FactType::Text,
        doc: "The window's instance name; its program chose it.",
    },
    FactSpec {
        name: "title",
        ty: FactType::Text,
        doc: "The window's title; its program, or a page in it, chose it.",
    },
    FactSpec {
        name: "pid",
        ty: FactType::Long,
        doc: "The process that made the window, by the X server; 0 if unknown.",
    },
    FactSpec {
        name: "executable",
        ty: FactType::Text,
        doc: "The real path of that process's program; empty if unknown.",
    },
    FactSpec {
        name: "role",
        ty: FactType::Text,
        doc: "application, terminal, launcher, prompt, vault, approval, desktop, or unknown where the process cannot be inspected; display where it is no window.",
    },
];

impl Window {
    /// This window as the resource of an effect, with [`FACTS`].
    pub fn effect(&self, verb: Verb) -> Effect {
        let identity = format!("{}:{}:{}", self.id, self.pid.unwrap_or(0), self.started.unwrap_or(0));
        let executable = self.executable.as_ref().map_or_else(String::new, |path| {
            llm_os_core::path::spell(std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()))
        });
        let effect = Effect::new(verb, Resource::window(&self.display, &self.class), Identity::new(identity))
            .fact("class", Fact::Text(self.class.clone()))
            .fact("instance", Fact::Text(self.instance.clone()))
            .fact("title", Fact::Text(self.title.clone()))
            .fact("pid", Fact::Long(self.pid.map_or(0, i64::from)))
            .fact("executable", Fact::Text(executable))
            .fact("role", Fact::Text(self.role.as_str().to_owned()));
        match self.role {
            Role::Approval => {
                effect.refuses("it shows confirmations of this host, which no policy can grant")
            }
            _ => effect,
        }
    }
}

/// An effect on a display as a whole, with [`FACTS`].
pub fn display_effect(verb: Verb, display: &str) -> Effect {
    let empty = || Fact::Text(String::new());
    Effect::new(verb, Resource::new(llm_os_core::Kind::Display, display), Identity::of_id())
        .fact("class", empty())
        .fact("instance", empty())
        .fact("title", empty())
        .fact("pid", Fact::Long(0))
        .fact("executable", empty())
        .fact("role", Fact::Text("display".to_owned()))
}
