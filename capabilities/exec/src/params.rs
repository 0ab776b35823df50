//! The params as a plan writes them, and the checks on their values.

use std::collections::BTreeMap;
use std::path::Path;

use llm_os_core::error::excerpt;
use llm_os_core::path::{MAX_COMPONENT, MAX_PATH, WirePath};
use llm_os_core::{Display, Fault, Secret};

use crate::action::{Action, Stage};
use crate::config::{Config, EnvName};
use crate::display;

/// The most programs of a pipe.
const MAX_STAGES: usize = 16;
/// The most arguments, the program's name included.
const MAX_ARGS: usize = 1024;
/// The longest argument: the kernel's `MAX_ARG_STRLEN` (execve(2)) less its NUL.
const MAX_ARG: usize = 131_071;
/// The longest value of an environment variable.
const MAX_ENV_VALUE: usize = 4096;

/// Checks everything that can be told without touching the system.
pub(crate) fn check(action: &Action, config: &Config, host: Option<&Display>) -> Result<(), Fault> {
    match action {
        Action::Run { argv, cwd, env, stdin: _, timeout_ms, max_output_bytes, expect_exit, display } => {
            check_program(argv, cwd.as_ref(), env, *display, config, host)?;
            check_expected(expect_exit.as_deref())?;
            check_bounds(*timeout_ms, *max_output_bytes, config)
        }
        Action::Pipe { stages, stdin: _, stdout_file, timeout_ms, max_output_bytes } => {
            if !(1..=MAX_STAGES).contains(&stages.len()) {
                let message = format!("found {} programs, expected 1 to {MAX_STAGES}", stages.len());
                return Err(Fault::invalid("stages", message));
            }
            for (at, Stage { argv, cwd, env, expect_exit, display }) in stages.iter().enumerate() {
                check_program(argv, cwd.as_ref(), env, *display, config, host)
                    .and_then(|()| check_expected(expect_exit.as_deref()))
                    .map_err(|fault| in_stage(at, fault))?;
            }
            if let Some(path) = stdout_file {
                path.bytes("stdout_file")?;
            }
            check_bounds(*timeout_ms, *max_output_bytes, config)
        }
        Action::Start { argv, cwd, env, pty: _, timeout_ms, display } => {
            check_program(argv, cwd.as_ref(), env, *display, config, host)?;
            check_most("timeout_ms", *timeout_ms, 1, config.handles.max_timeout_ms.get())
        }
        Action::Read { handle: _, after: _, max_bytes, wait_ms, screen: _ } => {
            check_most("max_bytes", *max_bytes, 1, config.max_output_bytes)?;
            check_most("wait_ms", *wait_ms, 0, config.max_timeout_ms.get())
        }
        Action::Write { handle: _, data, end, wait_ms } => {
            if data.is_none() && !end {
                return Err(Fault::invalid("data", "found neither data nor an end, expected at least one"));
            }
            check_most("wait_ms", *wait_ms, 0, config.max_timeout_ms.get())
        }
        Action::Signal { .. } | Action::Stop { .. } | Action::List {} => Ok(()),
    }
}

fn check_most(field: &str, found: Option<u64>, least: u64, most: u64) -> Result<(), Fault> {
    match found.filter(|found| !(least..=most).contains(found)) {
        Some(found) => Err(Fault::invalid(field, format!("found {found}, expected {least} to {most}"))),
        None => Ok(()),
    }
}

/// Completes the path of a fault that is about one program of a pipe.
pub(crate) fn in_stage(at: usize, fault: Fault) -> Fault {
    let path = fault.path.as_deref().map(|path| format!(".{path}")).unwrap_or_default();
    fault.at(format!("stages[{at}]{path}"))
}

fn check_program(
    argv: &[String],
    cwd: Option<&WirePath>,
    env: &BTreeMap<String, Secret>,
    display: bool,
    config: &Config,
    host: Option<&Display>,
) -> Result<(), Fault> {
    check_argv(argv)?;
    if let Some(cwd) = cwd {
        cwd.bytes("cwd")?;
    }
    check_env(env, config)?;
    if display {
        display::given(host)?;
    }
    Ok(())
}

fn check_bounds(
    timeout_ms: Option<u64>,
    max_output_bytes: Option<u64>,
    config: &Config,
) -> Result<(), Fault> {
    check_most("timeout_ms", timeout_ms, 1, config.max_timeout_ms.get())?;
    let max = config.max_output_bytes;
    match max_output_bytes.filter(|bytes| *bytes > max) {
        Some(found) => {
            Err(Fault::invalid("max_output_bytes", format!("found {found}, expected at most {max}")))
        }
        None => Ok(()),
    }
}

fn check_expected(codes: Option<&[i32]>) -> Result<(), Fault> {
    let Some(codes) = codes else { return Ok(()) };
    if codes.is_empty() {
        return Err(Fault::invalid("expect_exit", "found no exit code, expected at least one, such as [0]"));
    }
    match codes.iter().position(|code| !(0..=255).contains(code)) {
        Some(at) => {
            let message = format!("found {}, expected an exit code from 0 to 255", codes[at]);
            Err(Fault::invalid(format!("expect_exit[{at}]"), message))
        }
        None => Ok(()),
    }
}

fn check_argv(argv: &[String]) -> Result<(), Fault> {
    let Some(program) = argv.first() else {
        let message = "found no program, expected its absolute path and then its arguments";
        return Err(Fault::invalid("argv", message));
    };
    if argv.len() > MAX_ARGS {
        return Err(Fault::invalid(
            "argv",
            format!("found {} arguments, expected at most {MAX_ARGS}", argv.len()),
        ));
    }
    for (at, arg) in argv.iter().enumerate() {
        if arg.contains('\0') {
            let message = format!("found \"{}\", expected no NUL character", excerpt(arg));
            return Err(Fault::invalid(format!("argv[{at}]"), message));
        }
        if arg.len() > MAX_ARG {
            let message = format!("found {} bytes, expected at most {MAX_ARG}", arg.len());
            return Err(Fault::invalid(format!("argv[{at}]"), message));
        }
    }
    if !program.bytes().all(|b| (b' '..=b'~').contains(&b)) {
        let message = format!("found \"{}\", expected a path in printable ASCII", excerpt(program));
        return Err(Fault::invalid("argv[0]", message));
    }
    if !program.starts_with('/') {
        return Err(Fault::invalid("argv[0]", not_absolute(program)));
    }
    if program.len() > MAX_PATH || program.split('/').any(|name| name.len() > MAX_COMPONENT) {
        let message = format!(
            "found {} bytes, expected at most {MAX_PATH}, and {MAX_COMPONENT} in a component",
            program.len()
        );
        return Err(Fault::invalid("argv[0]", message));
    }
    Ok(())
}

/// Names the program that was probably meant. Nothing is looked up by name to run it.
fn not_absolute(program: &str) -> String {
    const PLACES: [&str; 5] = ["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"];
    let expected = format!(
        "found \"{}\", expected an absolute path: programs are never looked up by name",
        excerpt(program)
    );
    let bare = !program.is_empty() && !program.contains('/') && program.len() <= MAX_COMPONENT;
    match PLACES
        .iter()
        .map(|place| format!("{place}/{program}"))
        .find(|path| bare && Path::new(path).is_file())
    {
        Some(path) => format!("{expected}. Probably meant: \"{}\"", excerpt(&path)),
        None => expected,
    }
}

fn check_env(env: &BTreeMap<String, Secret>, config: &Config) -> Result<(), Fault> {
    for (name, value) in env {
        if !config.env_allow.iter().any(|allowed| allowed.as_str() == name) {
            let allowed: Vec<_> = config.env_allow.iter().map(EnvName::as_str).collect();
            let message = format!(
                "found the variable \"{}\", expected one of: {} (the operator's capabilities.exec.env_allow)",
                excerpt(name),
                allowed.join(", ")
            );
            return Err(Fault::invalid("env", message));
        }
        if let Err(expected) = check_value(name, value.expose()) {
            return Err(Fault::invalid(
                format!("env.{name}"),
                format!("its value is not accepted, expected {expected}"),
            ));
        }
    }
    Ok(())
}

/// The C library reads some values as file names, and would open what they name.
fn check_value(name: &str, value: &str) -> Result<(), String> {
    if value.len() > MAX_ENV_VALUE {
        return Err(format!("at most {MAX_ENV_VALUE} bytes"));
    }
    if value.contains('\0') {
        return Err("no NUL character".to_owned());
    }
    let names_a_file = match name {
        "TZ" => value.starts_with([':', '/']) || value.split('/').any(|part| part == ".."),
        "TERM" | "LANG" | "LANGUAGE" => value.contains(['/', '%']),
        _ => name.starts_with("LC_") && value.contains(['/', '%']),
    };
    if names_a_file { Err("a name, not a path".to_owned()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use llm_os_core::json::Json;

    /// The fault of params, as `path: message`, or `ok`.
    fn checked(params: &str) -> String {
        let json = Json::parse(params.as_bytes()).unwrap();
        let action = json.read_variant::<Action>("run").unwrap();
        match check(&action, &Config::default(), None) {
            Ok(()) => "ok".to_owned(),
            Err(fault) => {
                assert_eq!(fault.code.as_str(), "validation_failed");
                format!("{}: {}", fault.path.unwrap(), fault.message)
            }
        }
    }

    fn with(field: &str) -> String {
        checked(&format!(r#"{{"argv":["/bin/echo"],{field}}}"#))
    }

    #[test]
    fn wrong_values_name_the_field_what_was_found_and_what_was_expected() {
        let long_name = format!(r#"{{"argv":["/{}"]}}"#, "x".repeat(256));
        let many = format!(r#"{{"argv":[{}]}}"#, vec![r#""/a""#; 1025].join(","));
        for (params, expected) in [
            (r#"{"argv":[]}"#, "argv: found no program"),
            (r#"{"argv":[""]}"#, "argv[0]: found \"\", expected an absolute path"),
            (r#"{"argv":["./echo"]}"#, "argv[0]: found \"./echo\", expected an absolute path"),
            (
                r#"{"argv":["/bin/ech\u043e"]}"#,
                "argv[0]: found \"/bin/ech\\u{43e}\", expected a path in printable ASCII",
            ),
            (r#"{"argv":["/bin/echo","a\u0000b"]}"#, "argv[1]: found \"a\\u{0}b\", expected no NUL"),
            (&long_name, "argv[0]: found 257 bytes"),
            (&many, "argv: found 1025 arguments, expected at most 1024"),
            (r#"{"argv":["/a"],"cwd":"w"}"#, "cwd: \"w\" is not an accepted path"),
            (r#"{"argv":["/a"],"timeout_ms":0}"#, "timeout_ms: found 0, expected 1 to 600000"),
            (r#"{"argv":["/a"],"timeout_ms":600001}"#, "timeout_ms: found 600001"),
            (
                r#"{"argv":["/a"],"max_output_bytes":1048577}"#,
                "max_output_bytes: found 1048577, expected at most 1048576",
            ),
            (r#"{"argv":["/a"],"expect_exit":[]}"#, "expect_exit: found no exit code"),
            (r#"{"argv":["/a"],"expect_exit":[0,256]}"#, "expect_exit[1]: found 256"),
        ] {
            let found = checked(params);
            assert!(found.starts_with(expected), "{found}");
        }
    }

    /// E19. Guard: `argv[0]` must be an absolute path.
    #[test]
    fn a_bare_name_is_refused_and_the_message_names_what_was_probably_meant() {
        let found = checked(r#"{"argv":["echo"]}"#);
        assert!(found.starts_with("argv[0]: found \"echo\""), "{found}");
        assert!(
            found.ends_with("Probably meant: \"/usr/bin/echo\"") || found.ends_with("\"/bin/echo\""),
            "{found}"
        );
        assert!(!checked(r#"{"argv":["no-such-program-anywhere"]}"#).contains("Probably"));
    }

    /// V01 to V06. Guard: `env_allow`, and the names that it refuses itself.
    #[test]
    fn a_variable_that_is_not_allowed_is_refused() {
        let names = "LD_PRELOAD LD_AUDIT LD_LIBRARY_PATH PATH BASH_ENV ENV PROMPT_COMMAND BASH_FUNC_x%% PYTHONPATH \
             PYTHONSTARTUP NODE_OPTIONS PERL5OPT RUBYOPT JAVA_TOOL_OPTIONS GIT_SSH_COMMAND GIT_PAGER GIT_EXTERNAL_DIFF PAGER \
             EDITOR LESSOPEN GCONV_PATH LOCPATH NLSPATH MALLOC_CHECK_ GLIBC_TUNABLES lang";
        for name in names.split_whitespace() {
            let found = with(&format!(r#""env":{{"{name}":"/tmp/x"}}"#));
            assert!(found.starts_with(&format!("env: found the variable \"{name}\"")), "{found}");
        }
    }

    /// V08. Guard: the spelling of names and the bounds of values.
    #[test]
    fn variables_that_the_kernel_would_read_otherwise_are_refused() {
        for name in ["A=B", "LANG=C", "", "A\\u0000B"] {
            assert!(
                with(&format!(r#""env":{{"{name}":"x"}}"#)).starts_with("env: found the variable"),
                "{name}"
            );
        }
        let thousand: Vec<_> = (0..1000).map(|n| format!(r#""K{n}":"v""#)).collect();
        assert!(with(&format!(r#""env":{{{}}}"#, thousand.join(","))).starts_with("env: "));
        let long = format!(r#""env":{{"LANG":"{}"}}"#, "x".repeat(32 * 1024));
        assert_eq!(with(&long), "env.LANG: its value is not accepted, expected at most 4096 bytes");
        assert!(with(r#""env":{"LANG":"a\u0000b"}"#).starts_with("env.LANG: "));
    }

    #[test]
    fn values_that_the_c_library_would_open_as_files_are_refused() {
        for field in [
            "\"TZ\":\":/etc/passwd\"",
            "\"TZ\":\"/etc/passwd\"",
            "\"TZ\":\"../../x\"",
            "\"LANG\":\"../x\"",
            "\"TERM\":\"a/b\"",
        ] {
            let found = with(&format!(r#""env":{{{field}}}"#));
            assert!(found.ends_with("expected a name, not a path"), "{found}");
        }
        assert_eq!(
            with(
                r#""env":{"TZ":"Europe/Zurich","LANG":"de_CH.UTF-8","LC_ALL":"C","TERM":"dumb","LINES":"5"}"#
            ),
            "ok"
        );
    }
}
