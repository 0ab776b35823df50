//! `llm-osd doctor`: what this machine can enforce, and whether a host would start on it.
//!
//! It looks at everything that a start looks at, and leaves everything as it is: nothing is made in the state directory, no
//! socket is opened, no program is run for a plan. That another host runs already is no finding.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use llm_os_core::value::hex;
use llm_os_core::{Check, Display, HaltChord, Judge, Registry, Root, RootMode, Setup};
use rustix::fs::{Access, access};
use serde::Serialize;
use serde_json::json;

use crate::cli::RunArgs;
use crate::config::{Audit, RootConfig};
use crate::display::VirtualDisplay;
use crate::evidence;
use crate::halt::HaltFile;
use crate::policy::Policy;
use crate::settings::{Settings, real_root};
use crate::signing::{self, Approvers};
use crate::start::StartError;

/// Whose the findings are that are no capability's.
const HOST: &str = "host";

/// A finding, and whose it is.
#[derive(Serialize)]
struct Finding {
    /// `host`, or the capability.
    of: String,
    #[serde(flatten)]
    check: Check,
}

/// Looks, and prints what was found: 0 where a host would start, else 1.
pub(crate) fn command(args: RunArgs, as_json: bool) -> ExitCode {
    let mut findings = Findings::default();
    match Settings::of(args) {
        Ok(settings) => findings.look(&settings),
        Err(e) => findings.host(Check::lacking("configuration", e.to_string()).required()),
    }
    findings.0.sort_by_key(|finding| finding.of != HOST);
    let would_start = findings.0.iter().all(|finding| finding.check.held || !finding.check.required);
    let text = if as_json {
        json!({"would_start": would_start, "checks": findings.0}).to_string() + "\n"
    } else {
        findings.table(would_start)
    };
    let written = std::io::stdout().lock().write_all(text.as_bytes());
    if would_start && written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn host(&mut self, check: Check) {
        self.0.push(Finding { of: HOST.to_owned(), check });
    }

    /// A thing of the host's own, which it does not start without.
    fn needed(&mut self, name: &str, found: Result<String, String>) {
        self.host(
            match found {
                Ok(detail) => Check::held(name, detail),
                Err(why) => Check::lacking(name, why),
            }
            .required(),
        );
    }

    fn look(&mut self, settings: &Settings) {
        let file =
            settings.file.as_ref().map_or("none, so the defaults".to_owned(), |f| f.display().to_string());
        self.needed("configuration", settings.access().map(|_| file).map_err(|e| e.to_string()));
        self.needed(
            "state",
            own_directory(&settings.state).and_then(|found| {
                own_files(&settings.state)?;
                Ok(found)
            }),
        );
        for (name, socket) in
            [("plan_socket", &settings.socket), ("approval_socket", &settings.approval_socket)]
        {
            self.needed(name, place_of_socket(socket));
        }
        self.evidence(settings);
        let roots = self.roots(settings);
        let mut registry = match Registry::linked() {
            Ok(registry) => registry,
            Err(e) => return self.needed("capabilities", Err(e.to_string())),
        };
        let policy = self.policy(settings, &registry, &roots);
        self.approvers(settings);
        if let Some(halt) = HaltFile::of(&settings.state).read() {
            let why =
                format!("it was halted by {}; it starts, and refuses plans until llmsh resume", halt.by);
            self.host(Check::lacking("not_halted", why));
        }
        let scratch = Scratch::new();
        let display = self.display(settings, scratch.as_ref());
        let halt_chord = settings.display.halt_chord.as_deref().map(|keys| HaltChord::new(keys, || ()));
        if let (Some(chord), None) = (&halt_chord, &display) {
            let why = format!("\"{}\" needs a display: set display.virtual or display.name", chord.keys());
            self.needed("halt_chord", Err(why));
        }
        let setup = Setup {
            roots,
            display: display.as_ref().map(|display| display.1.clone()),
            state: None,
            halt_chord: halt_chord.clone(),
        };
        match settings.config.capability_tables() {
            Ok(tables) => {
                let checks = registry.checks(&tables, &setup);
                self.0.extend(checks.into_iter().map(|(of, check)| Finding { of, check }));
                // Without a display, since who opens that lets go of what is pressed on it.
                let setup = Setup { display: None, halt_chord: None, ..setup };
                if let (Some(policy), Ok(())) = (policy, registry.open(&tables, &setup)) {
                    let held = policy.check_held(&registry).map(|()| "what it states of programs".to_owned());
                    self.needed("policy_held", held.map_err(|e| e.to_string()));
                }
            }
            Err(e) => self.needed("capabilities", Err(e)),
        }
        if let (Some(chord), Some(_)) = (halt_chord.filter(|chord| !chord.is_watched()), &display) {
            let why = format!("no capability of this host watches \"{}\": link the keyboard", chord.keys());
            self.needed("halt_chord", Err(why));
        }
    }

    /// Whether evidence is kept, and how much there is.
    fn evidence(&mut self, settings: &Settings) {
        let Audit { evidence: wanted, evidence_quota: quota, evidence_retention: retention, .. } =
            settings.config.audit;
        if !wanted {
            let why = "records only digest outputs and what was replaced: set evidence = true in [audit]";
            return self.host(Check::lacking("evidence", why));
        }
        let stock = match evidence::folder(&settings.state).exists() {
            true => evidence::stock(&settings.state).map_err(|e| e.to_string()),
            false => Ok((0, 0)),
        };
        let life = retention.map_or("as long as there is room".to_owned(), |life| {
            format!("for {}", humantime::format_duration(life.0))
        });
        self.needed(
            "evidence",
            stock.map(|(files, used)| format!("{files} kept, {used} of at most {quota} bytes, {life}")),
        );
    }

    fn policy(&mut self, settings: &Settings, registry: &Registry, roots: &[Root]) -> Option<Policy> {
        let load =
            || Ok::<_, StartError>(Policy::load(&settings.source, registry, roots, settings.protected()?)?);
        let policy = load().map_err(|e| e.to_string());
        let told = policy.as_ref().map_err(Clone::clone).map(|policy| {
            let notes: String = policy.notes().iter().map(|note| format!("; {note}")).collect();
            format!("{} {}{notes}", settings.source, &policy.policy_sha256()[..12])
        });
        self.needed("policy", told);
        policy.ok()
    }

    /// Whether approvals must be signed, and by whom.
    fn approvers(&mut self, settings: &Settings) {
        match Approvers::load(settings.approvers.clone()) {
            Ok(approvers) => match approvers.asked() {
                Some(signers) => {
                    let who = signing::words(&signers);
                    self.needed("approvers", Ok(format!("approvals must be signed, by one of: {who}")));
                }
                None => {
                    let why = "approvals are not signed: whoever may use the approval socket approves; \
                               confirmation.approvers asks for the signature of a person";
                    self.host(Check::lacking("approvers", why));
                }
            },
            Err(e) => self.needed("approvers", Err(e.to_string())),
        }
    }

    /// The roots that are there.
    fn roots(&mut self, settings: &Settings) -> Vec<Root> {
        let workspace = RootConfig { path: settings.places.workspace.clone(), mode: RootMode::Write };
        if settings.roots.is_empty() && !workspace.path.exists() {
            self.needed("roots", can_be_made(&workspace.path));
            return Vec::new();
        }
        let configured =
            if settings.roots.is_empty() { std::slice::from_ref(&workspace) } else { &settings.roots[..] };
        let (mut roots, mut refused) = (Vec::new(), Vec::new());
        for root in configured {
            match real_root(root) {
                Ok(root) => roots.push(root),
                Err(e) => refused.push(e.to_string()),
            }
        }
        let found =
            if refused.is_empty() { Ok(format!("{} there", roots.len())) } else { Err(refused.join("; ")) };
        self.needed("roots", found);
        roots
    }

    /// The display that is configured. One of the host's own is started for as long as this takes.
    fn display(
        &mut self,
        settings: &Settings,
        scratch: Result<&Scratch, &String>,
    ) -> Option<(Option<VirtualDisplay>, Display)> {
        let configured = &settings.display;
        let display = match (configured.own, &configured.name) {
            (Some(size), _) => scratch.map_err(Clone::clone).and_then(|scratch| {
                let own = VirtualDisplay::start(size, &scratch.0).map_err(|e| e.to_string())?;
                let display = own.display.clone();
                Ok((Some(own), display))
            }),
            (None, Some(name)) => name
                .display(|variable| std::env::var(variable).ok())
                .map(|display| (None, display))
                .map_err(|e| e.to_string()),
            (None, None) => return None,
        };
        let told = display.as_ref().map(|(_, display)| display.id.clone());
        self.needed("display", told.map_err(Clone::clone));
        display.ok()
    }

    fn table(&self, would_start: bool) -> String {
        let mut text = String::new();
        let width = self.0.iter().map(|finding| finding.check.name.len()).max().unwrap_or(0);
        let mut of = "";
        for Finding { of: whose, check } in &self.0 {
            if of != whose {
                text += &format!("{whose}\n");
                of = whose;
            }
            let held = if check.held { "held" } else { "not held" };
            let required = if check.required { "required" } else { "" };
            let line = format!("  {held:<8}  {required:<8}  {:<width$}  {}", check.name, check.detail);
            text += line.trim_end();
            text += "\n";
        }
        text + if would_start { "The host would start.\n" } else { "The host would not start.\n" }
    }
}

/// A directory that is the host's own, or can be made.
fn own_directory(path: &Path) -> Result<String, String> {
    let shown = path.display();
    if !path.exists() {
        return can_be_made(path);
    }
    let directory = fs::File::open(path).map_err(|e| format!("{shown}: {e}"))?;
    if !path.is_dir() {
        return Err(format!("{shown} is no directory"));
    }
    crate::audit::owned(path, &directory, 0o022).map_err(|e| e.to_string())?;
    can_write(path)?;
    Ok(shown.to_string())
}

/// What lies in a state directory already is the host's own.
fn own_files(state: &Path) -> Result<(), String> {
    for name in ["audit", "audit.key", "digest.key", "once", "evidence"] {
        let path = state.join(name);
        match fs::File::open(&path) {
            Ok(file) => crate::audit::owned(&path, &file, 0o077).map_err(|e| e.to_string())?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(format!("{}: {e}", path.display())),
        }
    }
    Ok(())
}

/// A place in which the host could open a socket, or has one.
fn place_of_socket(socket: &Path) -> Result<String, String> {
    let shown = socket.display();
    let directory = socket.parent().filter(|_| socket.is_absolute());
    let directory = directory.ok_or_else(|| format!("{shown} must be absolute"))?;
    match fs::symlink_metadata(socket) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(format!(
                "{shown} exists and is not a socket: it is not removed; choose another path"
            ));
        }
        Ok(_) | Err(_) => {}
    }
    let found = match fs::symlink_metadata(directory) {
        Ok(found) => found,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return can_be_made(directory),
        Err(e) => return Err(format!("{}: {e}", directory.display())),
    };
    let us = rustix::process::geteuid().as_raw();
    if !found.is_dir() {
        return Err(format!("{} is not a directory", directory.display()));
    }
    if found.uid() != us {
        return Err(format!("{} belongs to user {}, not to {us}", directory.display(), found.uid()));
    }
    Ok(shown.to_string())
}

/// Whether the nearest directory above that exists lets the host make this one.
fn can_be_made(path: &Path) -> Result<String, String> {
    let path = std::path::absolute(path).map_err(|e| e.to_string())?;
    let above = path.ancestors().skip(1).find(|above| above.exists());
    let above = above.ok_or_else(|| format!("{} has nothing above it", path.display()))?;
    if !above.is_dir() {
        return Err(format!("{} cannot be made: {} is no directory", path.display(), above.display()));
    }
    can_write(above)?;
    Ok(format!("{} (will be made)", path.display()))
}

fn can_write(directory: &Path) -> Result<(), String> {
    access(directory, Access::WRITE_OK | Access::EXEC_OK)
        .map_err(|e| format!("nothing can be made in {}: {e}", directory.display()))
}

/// A directory of this command's own; gone with this value.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self, String> {
        let mut name = [0; 8];
        getrandom::fill(&mut name).map_err(|e| e.to_string())?;
        let path = std::env::temp_dir().join(format!("llm-osd-doctor-{}", hex(&name)));
        let made = fs::DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|e| format!("{} cannot be made: {e}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
