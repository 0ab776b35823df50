//! The display that a program is let at, where its plan asks for it and policy allows it.

use std::path::Path;

use llm_os_core::{Code, Display, Effect, Effects, Fault, Identity, Kind, Resource, Verb};

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
    let host = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let variable = |name: &str, value: String| (name.to_owned(), value);
    if !display.name.starts_with(':') {
        // A name without a directory is one below XDG_RUNTIME_DIR, which the program does not get to know.
        let socket = match host("XDG_RUNTIME_DIR") {
            Some(directory) if !display.name.starts_with('/') => format!("{directory}/{}", display.name),
            _ => display.name.clone(),
        };
        return vec![variable("WAYLAND_DISPLAY", socket)];
    }
    let users_own = || {
        let file = host("XAUTHORITY").or_else(|| Some(format!("{}/.Xauthority", host("HOME")?)));
        file.filter(|file| Path::new(file).is_file())
    };
    let authority = match &display.authority {
        Some(file) => file.to_str().map(str::to_owned),
        None => users_own(),
    };
    let authority = authority.map(|file| variable("XAUTHORITY", file));
    [variable("DISPLAY", display.name.clone())].into_iter().chain(authority).collect()
}
