//! From a configuration to a serving host, and back to nothing. What cannot be checked keeps it from starting.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use llm_os_core::audit::{Entry, Event};
use llm_os_core::pipeline::Ledger;
use llm_os_core::registry::RegistryError;
use llm_os_core::value::hex;
use llm_os_core::{Display, Fault, HaltChord, Judge, Registry, Root, RootMode, Setup};
use sd_notify::NotifyState;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::approvals::Desk;
use crate::audit::{self, Log};
use crate::cli::RunArgs;
use crate::config::{self, ConfigError, Group, RootConfig, line_of};
use crate::display::{DisplayConfig, DisplayError, VirtualDisplay};
use crate::evidence::Store;
use crate::halt::HaltFile;
use crate::host::{Host, running::Running};
use crate::policy::{Policy, PolicyError};
use crate::server::{self, Activated, ListenError, listen_or_take};
use crate::settings::{Settings, real_root};
use crate::signing::{self, Approvers, ApproversError};

/// Why the host does not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("no home directory: set HOME")]
    Home(#[from] etcetera::HomeDirError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("{0}")]
    Capability(String),
    #[error("--policy: {0}")]
    PolicySource(String),
    #[error(transparent)]
    Policy(#[from] PolicyError),
    #[error("confirmation.approvers: {0}")]
    Approvers(#[from] ApproversError),
    #[error("the root {path} cannot be used: {source}; create it, or name another")]
    Root { path: PathBuf, source: io::Error },
    #[error("the audit log cannot be opened: {0}")]
    Audit(#[from] audit::OpenError),
    #[error("audit.readers_group: {0}")]
    ReadersGroup(String),
    #[error("evidence cannot be kept: {0}; or set evidence = false in [audit]")]
    Evidence(audit::OpenError),
    #[error("the first audit record cannot be written: {0}")]
    Record(#[from] Fault),
    #[error("there is no display: {0}")]
    Display(#[from] DisplayError),
    #[error("display.halt_chord: found \"{keys}\", and {why}")]
    HaltChord { keys: String, why: &'static str },
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Runs the host until SIGTERM or SIGINT.
///
/// # Errors
///
/// Whatever keeps it from starting.
pub(crate) fn run(args: RunArgs) -> Result<(), StartError> {
    // First of all, so that no program that is started for the host has them open.
    let handed = Activated::take()?;
    let settings = Settings::of(args)?;
    let (access, [plan_uids, approver_uids]) = (settings.access()?, settings.uids());
    let roots = real_roots(&settings)?;
    let mut registry = Registry::linked().map_err(|e| StartError::Capability(e.to_string()))?;
    let tables = settings.config.capability_tables().map_err(StartError::Capability)?;
    let protected = settings.protected()?;
    // Before the policy is loaded: only what exists can be hidden from programs. Who uses them says what is wrong.
    for directory in settings.directories() {
        let _ = DirBuilder::new().recursive(true).mode(0o700).create(directory);
    }
    let policy = Policy::load(&settings.source, &registry, &roots, protected.clone())?;
    let approvers = Approvers::load(settings.approvers.clone())?;
    policy.notes().iter().for_each(|note| tracing::warn!("policy: {note}"));
    let Settings { config, file, socket, approval_socket, state, source, display: configured, .. } = settings;

    let readers = config.audit.readers_group.as_ref().map(Group::gid).transpose();
    let readers = readers.map_err(StartError::ReadersGroup)?;
    let retention = config.audit.retention.map(|age| age.0);
    let log = Log::open(
        &state,
        audit::Options {
            segment_bytes: config.audit.segment_bytes,
            checkpoint_records: config.audit.checkpoint_records,
            readers,
            retention,
        },
    )?;
    // Only who holds the log's lock may touch what lies beside it.
    let evidence = evidence(&config.audit, &state).map_err(StartError::Evidence)?;
    // Dropped after the host, whose capabilities use it.
    let (_own_display, display) = display(&configured, &state)?;
    let pressed = Arc::new(Notify::new());
    let chord = halt_chord(configured.halt_chord.as_deref(), display.as_ref(), &pressed)?;
    let setup = Setup {
        roots: roots.clone(),
        display: display.clone(),
        state: Some(state.clone()),
        halt_chord: chord.clone(),
    };
    registry.open(&tables, &setup).map_err(|e| StartError::Capability(located(&e, file.as_deref())))?;
    if let Some(chord) = chord.as_ref().filter(|chord| !chord.is_watched()) {
        let why = "no capability of this host can watch it: link the keyboard, or leave it out";
        return Err(StartError::HaltChord { keys: chord.keys().to_owned(), why });
    }
    policy.check_held(&registry)?;
    warn_of_unavailable(&registry);
    // Sockets of a service manager stay: it listens on them while no host runs.
    let own: Vec<PathBuf> = [(&socket, &handed.plan), (&approval_socket, &handed.approval)]
        .into_iter()
        .filter(|(_, handed)| handed.is_none())
        .map(|(path, _)| path.clone())
        .collect();
    let plan = listen_or_take(&socket, access, handed.plan)?;
    let approval = listen_or_take(&approval_socket, access, handed.approval)?;
    let mut boot = [0; 6];
    getrandom::fill(&mut boot).map_err(io::Error::other)?;
    let halt_file = HaltFile::of(&state);
    let halt = halt_file.read();
    let held = config.confirmation;
    let [pending_life, grant_life] = [held.pending_s, held.grant_s].map(Duration::from_secs);
    let desk = Desk::new(pending_life, held.max_pending, grant_life);
    let host = Arc::new(Host {
        registry,
        log,
        evidence,
        desk,
        roots,
        display,
        running: Running::new(config.limits.running, config.limits.queued, halt),
        halt_file,
        limits: config.limits,
        plan_uids,
        approver_uids,
        approvers,
        policy_source: source,
        policy: RwLock::new(Arc::new(policy)),
        protected,
        boot: hex(&boot),
        runs: AtomicU64::new(1),
        connections: AtomicU64::new(1),
    });
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(workers()).enable_all().build()?;
    let served = runtime.block_on(async {
        let by = chord.map(|chord| format!("the key chord {}", chord.keys()));
        let halting = by.map(|by| tokio::spawn(halt_when(pressed, host.clone(), by)));
        let retiring = retention.map(|_| tokio::spawn(retire_hourly(host.clone())));
        let expiring = host.evidence.clone().map(|store| tokio::spawn(expire(store)));
        let served = serve(host, plan, approval, &socket).await;
        halting.iter().chain(&retiring).chain(&expiring).for_each(tokio::task::JoinHandle::abort);
        served
    });
    own.iter().for_each(|socket| drop(fs::remove_file(socket)));
    served
}

async fn serve(
    host: Arc<Host>,
    plan: std::os::unix::net::UnixListener,
    approval: std::os::unix::net::UnixListener,
    socket: &Path,
) -> Result<(), StartError> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = CancellationToken::new();
    let (halt, _) = host.running.halted();
    let mut data = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "policy": host.policy_source.to_string(),
        "policy_sha256": host.policy().policy_sha256(),
        "roots": host.roots,
        "display": host.display,
    });
    if let Some(signers) = host.approvers.asked() {
        data["approvers"] = signing::listed(&signers);
    }
    if let Some(halt) = &halt {
        tracing::warn!(
            since = halt.since,
            by = halt.by,
            "the host is halted: llmsh resume lets it run again"
        );
        data["halted"] = json!(halt);
    }
    let _durable = host.log.write(vec![Entry { data: Some(data), ..Entry::new(Event::Start) }]).await?;
    let (plan, approval) =
        (tokio::net::UnixListener::from_std(plan)?, tokio::net::UnixListener::from_std(approval)?);
    tracing::info!(socket = %socket.display(), policy = %host.policy_source, "ready");
    tell(&[NotifyState::Ready, NotifyState::Status("serving")]);
    let serving = server::serve(host.clone(), plan, approval, stop.clone());
    let mut serving = std::pin::pin!(serving);
    tokio::select! {
        () = &mut serving => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping: what runs may end within {} s", host.limits.stop_s);
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping: what runs may end")]);
    stop.cancel();
    tokio::select! {
        () = &mut serving => {}
        () = async { tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} } } => {
            tracing::warn!("told twice: cancelling what runs");
            host.running.cancel_all();
            serving.await;
        }
    }
    host.log.close().await?;
    tracing::info!("stopped");
    Ok(())
}

/// Tells the service manager, where there is one (`sd_notify(3)`).
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!("the service manager cannot be told: {error}");
    }
}

/// Removes what is older than `audit.retention`, once an hour. An error seals the log, which says so itself.
async fn retire_hourly(host: Arc<Host>) {
    let hour = Duration::from_secs(3_600);
    loop {
        tokio::time::sleep(hour).await;
        if host.log.retire().await.is_err() {
            break;
        }
    }
}

/// One line for each reason.
fn warn_of_unavailable(registry: &Registry) {
    let mut reasons = BTreeMap::<_, Vec<_>>::new();
    for (name, _) in registry.configs() {
        if let Some(why) = registry.unavailable(name) {
            reasons.entry(why).or_default().push(name);
        }
    }
    for (why, names) in reasons {
        tracing::warn!(capabilities = names.join(", "), "unavailable: {why}");
    }
}

/// The store of evidence, where one is wanted.
fn evidence(configured: &config::Audit, state: &Path) -> Result<Option<Arc<Store>>, audit::OpenError> {
    let open =
        || Store::open(state, configured.evidence_quota, configured.evidence_retention.map(|age| age.0));
    configured.evidence.then(|| open().map(Arc::new)).transpose()
}

/// Lets go of what is older than it may be, for as long as the host runs.
async fn expire(store: Arc<Store>) {
    let Some(retention) = store.retention() else { return };
    let pause = (retention / 8).clamp(Duration::from_millis(100), Duration::from_secs(600));
    loop {
        tokio::time::sleep(pause).await;
        store.expire();
    }
}

/// The display that plans may drive; one of the host's own is started.
fn display(
    configured: &DisplayConfig,
    state: &Path,
) -> Result<(Option<VirtualDisplay>, Option<Display>), StartError> {
    match (configured.own, &configured.name) {
        (Some(size), _) => {
            let own = VirtualDisplay::start(size, state)?;
            let its = own.display.clone();
            tracing::info!(name = its.name, "the virtual display runs");
            Ok((Some(own), Some(its)))
        }
        (None, Some(name)) => Ok((None, Some(name.display(|variable| std::env::var(variable).ok())?))),
        (None, None) => Ok((None, None)),
    }
}

/// The chord that halts the host, which tells of each press by `pressed`.
fn halt_chord(
    keys: Option<&str>,
    display: Option<&Display>,
    pressed: &Arc<Notify>,
) -> Result<Option<HaltChord>, StartError> {
    match (keys, display) {
        (None, _) => Ok(None),
        (Some(keys), None) => {
            let why =
                "there is no display to press it on: set display.virtual or display.name, or leave it out";
            Err(StartError::HaltChord { keys: keys.to_owned(), why })
        }
        (Some(keys), Some(_)) => {
            let pressed = pressed.clone();
            Ok(Some(HaltChord::new(keys, move || pressed.notify_one())))
        }
    }
}

/// Halts the host for each press that finds it running.
async fn halt_when(pressed: Arc<Notify>, host: Arc<Host>, by: String) {
    loop {
        pressed.notified().await;
        if host.running.halted().0.is_none()
            && let Err(fault) = host.halt(by.clone(), None, None).await
        {
            tracing::error!("{fault}");
        }
    }
}

/// The roots in their real form; without any, the workspace, which is then made.
fn real_roots(settings: &Settings) -> Result<Vec<Root>, StartError> {
    if !settings.roots.is_empty() {
        return settings.roots.iter().map(real_root).collect();
    }
    let workspace = &settings.places.workspace;
    let made = DirBuilder::new().recursive(true).mode(0o700).create(workspace);
    made.map_err(|source| StartError::Root { path: workspace.clone(), source })?;
    Ok(vec![real_root(&RootConfig { path: workspace.clone(), mode: RootMode::Write })?])
}

/// An error in a capability's table, with file and line.
fn located(error: &RegistryError, file: Option<&Path>) -> String {
    let key = match error {
        RegistryError::Config { name, path, message } => {
            let unknown = message.strip_prefix("unknown field \"").and_then(|rest| rest.split('"').next());
            format!("capabilities.{name}{path}{}", unknown.map_or(String::new(), |field| format!(".{field}")))
        }
        RegistryError::NoSuchCapability { name, .. } => format!("capabilities.{name}"),
        RegistryError::Duplicate(_) | RegistryError::Contract { .. } | RegistryError::Required { .. } => {
            return error.to_string();
        }
    };
    let line = file.and_then(|file| line_of(&fs::read_to_string(file).ok()?, &key));
    match (file, line) {
        (Some(file), Some(line)) => format!("{}: line {line}: {error}", file.display()),
        _ => error.to_string(),
    }
}

/// Enough threads that one may wait for the disk or a capability while others answer.
fn workers() -> usize {
    std::thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 8))
}
