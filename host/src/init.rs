//! `llm-osd init`: a configuration to begin with, and what to do next.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;
use llm_os_core::RootMode;
use serde_json::json;

use crate::cli::RootArg;
use crate::places::Places;

/// What `llm-osd init` is told.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  llm-osd init --root ~/project:write
  llm-osd init --preset strict --config ./llm-osd.toml
  llm-osd init --preset virtual-desktop --force > mcp.json")]
pub(crate) struct InitArgs {
    /// What is allowed without asking.
    #[arg(long, value_enum, default_value_t = Preset::Workspace)]
    preset: Preset,
    /// Where to write it; without it, where llm-osd reads it by itself.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A directory below which plans may name files; may be repeated. Without :write it is :read.
    #[arg(long = "root", value_name = "DIR[:read|:write]")]
    roots: Vec<RootArg>,
    /// Replaces a configuration that exists.
    #[arg(long)]
    force: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Preset {
    /// Everything asks but /bin/echo and reading below the roots.
    Strict,
    /// Reads, and works below the roots for writing.
    Workspace,
    /// Drives a display of the host's own.
    VirtualDesktop,
}

impl Preset {
    fn source(self) -> &'static str {
        match self {
            Preset::Strict => "preset:strict",
            Preset::Workspace => "preset:workspace",
            Preset::VirtualDesktop => "preset:virtual-desktop",
        }
    }
}

const TEMPLATE: &str = include_str!("init/template.toml");

/// Writes the configuration, prints the snippet for clients of MCP to stdout and the next steps to stderr.
pub(crate) fn command(args: InitArgs) -> ExitCode {
    match init(&args) {
        Ok(file) => {
            say_next(&args, &file);
            ExitCode::SUCCESS
        }
        Err(why) => {
            tracing::error!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn init(args: &InitArgs) -> Result<PathBuf, String> {
    let places = Places::find().map_err(|e| format!("{e}: set HOME"))?;
    let file = args.config.clone().unwrap_or_else(|| places.config.clone());
    let file = std::path::absolute(file).map_err(|e| e.to_string())?;
    let text = configuration(args, &places)?;
    write_new(&file, text.as_bytes(), args.force).map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists => {
            format!("{} exists and is left as it is: give --force to replace it", file.display())
        }
        _ => format!("{} cannot be written: {e}", file.display()),
    })?;
    Ok(file)
}

/// The file's text: the template with what was chosen.
fn configuration(args: &InitArgs, places: &Places) -> Result<String, String> {
    let path = |path: &Path| {
        let text =
            path.to_str().ok_or_else(|| format!("{} is not UTF-8: write it by hand", path.display()))?;
        Ok::<_, String>(toml_text(text))
    };
    let mut roots = String::new();
    for RootArg(root) in &args.roots {
        let mode = match root.mode {
            RootMode::Read => "read",
            RootMode::Write => "write",
        };
        roots += &format!("[[roots]]\npath = {}\nmode = \"{mode}\"\n\n", path(&root.path)?);
    }
    if roots.is_empty() {
        roots = format!("# [[roots]]\n# path = {}\n# mode = \"write\"\n\n", path(&places.workspace)?);
    }
    let comment = if args.preset == Preset::VirtualDesktop { "" } else { "# " };
    let user = rustix::process::geteuid().as_raw().to_string();
    let chosen = [
        ("@SOCKET@", path(&places.socket)?),
        ("@APPROVAL_SOCKET@", path(&places.approval_socket)?),
        ("@STATE_DIR@", path(&places.state)?),
        ("@POLICY@", toml_text(args.preset.source())),
        ("@UID@", user),
        ("@GID@", rustix::process::getegid().as_raw().to_string()),
        ("@VIRTUAL@", format!("{comment}virtual = \"1280x800\"")),
        ("@ROOTS@\n", roots),
    ];
    Ok(chosen.iter().fold(TEMPLATE.to_owned(), |text, (mark, value)| text.replace(mark, value)))
}

/// A TOML string: JSON's escapes are TOML's, but for DEL, which TOML wants escaped.
fn toml_text(text: &str) -> String {
    json!(text).to_string().replace('\u{7f}', "\\u007f")
}

/// Makes a file of mode 0600 that is there whole or not at all; one that exists is replaced only where that is asked.
fn write_new(path: &Path, bytes: &[u8], replace: bool) -> io::Result<()> {
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let part = path.with_extension(format!("{}.part", std::process::id()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    // A link, unlike a rename, never replaces.
    let placed = written.and_then(|()| match replace {
        true => std::fs::rename(&part, path),
        false => std::fs::hard_link(&part, path),
    });
    if !replace || placed.is_err() {
        std::fs::remove_file(&part)?;
    }
    placed?;
    File::open(directory)?.sync_all()
}

fn say_next(args: &InitArgs, file: &Path) {
    let local = json!({"command": "llmsh", "args": ["mcp"]});
    let remote = json!({"command": "ssh", "args": ["-T", "HOST", "llmsh", "mcp"]});
    let named = args.config.as_ref().map_or(String::new(), |_| format!(" --config {}", file.display()));
    eprintln!(
        "{} is written, with {}.\n\nNext:\n  llm-osd doctor{named}    would a host start?\n  llm-osd{named}           run it, or: systemctl --user enable --now llm-osd-plan.socket llm-osd-approval.socket\n  llmsh ping        in another terminal\n  llmsh approve     decide about what asks\n\nOn stdout: \"local\" is for the settings of a client of MCP on this machine, \"ssh\" for one elsewhere (put the machine's name for HOST).",
        file.display(),
        args.preset.source()
    );
    let snippet = json!({
        "local": {"mcpServers": {"llm-os": local}},
        "ssh": {"mcpServers": {"llm-os": remote}},
    });
    println!("{snippet:#}");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::Config;

    fn places() -> Places {
        Places {
            config: "/c/llm-osd.toml".into(),
            state: "/s".into(),
            socket: "/r/plan/plan.sock".into(),
            approval_socket: "/r/approval/approval.sock".into(),
            workspace: "/w \"x\"".into(),
        }
    }

    fn args(preset: Preset, roots: &[&str]) -> InitArgs {
        let roots = roots.iter().map(|root| root.parse().unwrap()).collect();
        InitArgs { preset, config: None, roots, force: false }
    }

    /// The same with every commented key set.
    fn uncommented(text: &str) -> String {
        let is_key = |line: &str| {
            let key = line.strip_prefix("# ").unwrap_or_default();
            let name = key.split(" = ").next().unwrap_or_default();
            let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
            key.starts_with("[[") || (key.contains(" = ") && plain)
        };
        let line = |line: &str| if is_key(line) { line[2..].to_owned() } else { line.to_owned() };
        text.lines().map(line).collect::<Vec<_>>().join("\n")
    }

    fn parse(text: &str) -> Config {
        Config::parse(text, Path::new("llm-osd.toml")).unwrap_or_else(|e| panic!("{e}\n{text}"))
    }

    #[test]
    fn what_is_chosen_is_set_and_the_rest_is_as_without_a_file() {
        for preset in [Preset::Strict, Preset::Workspace, Preset::VirtualDesktop] {
            let text = configuration(&args(preset, &["/a b:write", "/c"]), &places()).unwrap();
            let config = parse(&text);
            assert_eq!(config.policy.as_deref(), Some(preset.source()));
            assert_eq!(config.roots.len(), 2);
            assert_eq!(config.roots[0].path, Path::new("/a b"));
            assert_eq!(config.display.own.is_some(), preset == Preset::VirtualDesktop);
            let plain = Config::default();
            assert_eq!(format!("{:?}", config.limits), format!("{:?}", plain.limits));
            assert_eq!(format!("{:?}", config.audit), format!("{:?}", plain.audit));
        }
    }

    #[test]
    fn the_commented_values_are_the_defaults() {
        let text = uncommented(&configuration(&args(Preset::Workspace, &[]), &places()).unwrap());
        let text = text.replace("name = \":0\"", "").replace("approvers = \"approvers\"", "");
        let config = parse(&text);
        let plain = Config::default();
        assert_eq!(format!("{:?}", config.limits), format!("{:?}", plain.limits));
        assert_eq!(format!("{:?}", config.confirmation), format!("{:?}", plain.confirmation));
        assert_eq!(config.audit.segment_bytes, plain.audit.segment_bytes);
        assert_eq!(config.audit.checkpoint_records, plain.audit.checkpoint_records);
        assert_eq!(config.roots[0].path, places().workspace);
        let mut registry = llm_os_core::Registry::linked().unwrap();
        registry.open(&config.capability_tables().unwrap(), &llm_os_core::Setup::default()).unwrap();
    }

    /// The keys that a table has, as the error about an unknown one lists them.
    fn accepted(table: &str) -> BTreeSet<String> {
        let header = if table.is_empty() { String::new() } else { format!("[{table}]\n") };
        let error = toml::from_str::<Config>(&format!("{header}zzz = 1\n")).unwrap_err().to_string();
        let (_, listed) = error.split_once(", expected ").unwrap_or_else(|| panic!("{error}"));
        listed.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn every_key_of_the_configuration_is_in_the_template() {
        let text = uncommented(&configuration(&args(Preset::Workspace, &[]), &places()).unwrap());
        let table: toml::Table = toml::from_str(&text).unwrap();
        for name in ["", "limits", "confirmation", "audit", "display"] {
            let written = if name.is_empty() { &table } else { table[name].as_table().unwrap() };
            let written: BTreeSet<String> = written.keys().cloned().collect();
            assert_eq!(written, accepted(name), "[{name}]");
        }
        let capabilities = table["capabilities"].as_table().unwrap();
        for (name, schema) in llm_os_core::Registry::linked().unwrap().configs() {
            let keys = |value: Option<&serde_json::Value>| -> BTreeSet<String> {
                value.and_then(|v| v.as_object()).into_iter().flat_map(|o| o.keys().cloned()).collect()
            };
            let written = capabilities.get(name).and_then(toml::Value::as_table);
            let written: BTreeSet<String> = written.into_iter().flat_map(|t| t.keys().cloned()).collect();
            assert_eq!(written, keys(schema.get("properties")), "[capabilities.{name}]");
        }
    }

    #[test]
    fn a_configuration_that_exists_is_replaced_only_where_that_is_asked() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("made/llm-osd.toml");
        write_new(&file, b"one", false).unwrap();
        assert_eq!(write_new(&file, b"two", false).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&file).unwrap(), b"one");
        write_new(&file, b"two", true).unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"two");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(std::fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
    }
}
