//! The display that a program is let at, where its plan asks for it and policy allows it.

use std::path::PathBuf;

use llm_os_core::{Code, Display, Effect, Effects, Fault, Identity, Kind, Resource, Verb};

use crate::sandbox::AUTHORITY;

/// The display of the host, where there is one.
///
/// # Errors
///
/// `unavailable`, with what to do.
pub(crate) fn given(display: Option<&Display>) -> Result<&Display, Fault> {
    display.ok_or_else(|| {
        let message = "the host drives no display: start it with --virtual-display 1280x800 for one of its own, or \
             with --display NAME for one that exists, or leave \"display\" out";
        Fault::new(Code::UNAVAILABLE, message).at("display")
    })
}

/// What a program with a display can do there, whatever it is: look at everything and send input to everything. No
/// display keeps its clients apart (X11), so nothing less can be stated.
pub(crate) fn effects(display: &Display, effects: Effects) -> Effects {
    let on = |verb| Effect::new(verb, Resource::new(Kind::Display, display.id.as_str()), Identity::of_id());
    effects.and(on(Verb::Observe)).and(on(Verb::Inject))
}

/// The variables by which a program finds it: `DISPLAY` and `XAUTHORITY` (X(7)), or `WAYLAND_DISPLAY`.
pub(crate) fn variables(display: &Display) -> Vec<(String, String)> {
    let variable = |name: &str, value: String| (name.to_owned(), value);
    let (socket, cookie) = files(display);
    if !display.name.starts_with(':') {
        return vec![variable("WAYLAND_DISPLAY", socket.to_string_lossy().into_owned())];
    }
    let authority = cookie.map(|_| variable("XAUTHORITY", AUTHORITY.to_owned()));
    [variable("DISPLAY", display.name.clone())].into_iter().chain(authority).collect()
}

/// Its socket, and for an X server the file with its cookie, where there is one.
pub(crate) fn files(display: &Display) -> (PathBuf, Option<PathBuf>) {
    let host = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let Some(number) = display.name.strip_prefix(':') else {
        // A name without a directory is one below XDG_RUNTIME_DIR, which the program does not get to know.
        let directory = host("XDG_RUNTIME_DIR").unwrap_or_default();
        return (PathBuf::from(directory).join(&display.name), None);
    };
    let number = number.split('.').next().unwrap_or(number);
    let users_own = || {
        let file = host("XAUTHORITY").or_else(|| Some(format!("{}/.Xauthority", host("HOME")?)));
        file.map(PathBuf::from).filter(|file| file.is_file())
    };
    (format!("/tmp/.X11-unix/X{number}").into(), display.authority.clone().or_else(users_own))
}
