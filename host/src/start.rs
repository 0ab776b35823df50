//! From a configuration to a serving host, and back to nothing. What cannot be checked keeps it from starting.

use std::collections::{BTreeMap, BTreeSet};
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
use llm_os_core::{Display, Fault, Judge, Registry, Root, RootMode, Setup};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::approvals::Desk;
use crate::audit::{self, Log};
use crate::cli::RunArgs;
use crate::config::{Config, ConfigError, RootConfig, line_of};
use crate::display::{DisplayConfig, DisplayError, Name, Size, VirtualDisplay};
use crate::host::{Host, running::Running};
use crate::places::Places;
use crate::policy::{Policy, PolicyError, Protected, Source};
use crate::server::{self, Access, ListenError, listen};

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
    #[error("the root {path} cannot be used: {source}; create it, or name another")]
    Root { path: PathBuf, source: io::Error },
    #[error("the audit log cannot be opened: {0}")]
    Audit(#[from] audit::OpenError),
    #[error("the first audit record cannot be written: {0}")]
    Record(#[from] Fault),
    #[error("there is no display: {0}")]
    Display(#[from] DisplayError),
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
    let places = Places::find()?;
    let (config, file) = read_config(&args, &places)?;
    let socket = args.socket.or(config.socket.clone()).unwrap_or(places.socket);
    let approval_socket =
        args.approval_socket.or(config.approval_socket.clone()).unwrap_or(places.approval_socket);
    let state = args.state_dir.or(config.state_dir.clone()).unwrap_or(places.state);
    let source = args.policy.or(config.policy.clone()).map_or(Ok(Source::default()), |text| text.parse());
    let source: Source = source.map_err(StartError::PolicySource)?;

    let roots: Vec<RootConfig> =
        config.roots.iter().cloned().chain(args.roots.into_iter().map(|r| r.0)).collect();
    let roots = real_roots(&roots, &places.workspace)?;
    let mut registry = Registry::linked().map_err(|e| StartError::Capability(e.to_string()))?;
    let tables = config.capability_tables().map_err(StartError::Capability)?;
    let policy_file = if let Source::Path(path) = &source { Some(std::path::absolute(path)?) } else { None };
    let own_files = [
        Some(state.clone()),
        Some(places.config.clone()),
        file.clone(),
        policy_file,
        Some(std::env::current_exe()?),
    ];
    let socket_dirs = [&socket, &approval_socket].map(|socket| socket.parent().map(Path::to_owned));
    let made = [Some(&state), socket_dirs[0].as_ref(), socket_dirs[1].as_ref()];
    let made: Vec<_> = made.into_iter().flatten().cloned().collect();
    let protected = Protected::new(own_files.into_iter().chain(socket_dirs).flatten())?;
    // Before the policy is loaded: only what exists can be hidden from programs. Who uses them says what is wrong.
    for directory in made {
        let _ = DirBuilder::new().recursive(true).mode(0o700).create(directory);
    }
    let policy = Policy::load(&source, &registry, &roots, protected.clone())?;
    policy.notes().iter().for_each(|note| tracing::warn!("policy: {note}"));

    let own = rustix::process::geteuid().as_raw();
    let uids = |list: &Option<Vec<u32>>| list.clone().map_or(BTreeSet::from([own]), BTreeSet::from_iter);
    let (plan_uids, approver_uids) = (uids(&config.plan_uids), uids(&config.approver_uids));
    let others = plan_uids.union(&approver_uids).any(|uid| *uid != own);
    let access = match (others, config.socket_gid) {
        (true, Some(gid)) => Access::Group(gid),
        (true, None) => {
            let why =
                "plan_uids or approver_uids list other users: name the group that may reach the sockets"
                    .to_owned();
            return Err(
                ConfigError::Value { path: file.unwrap_or(places.config), field: "socket_gid", why }.into()
            );
        }
        (false, _) => Access::Own,
    };

    let log = Log::open(
        &state,
        audit::Options {
            segment_bytes: config.audit.segment_bytes,
            checkpoint_records: config.audit.checkpoint_records,
        },
    )?;
    // Only who holds the log's lock may touch what lies beside it. Dropped after the host, whose capabilities use it.
    let (_own_display, display) = display(args.virtual_display, args.display, &config.display, &state)?;
    let setup = Setup { roots: roots.clone(), display: display.clone(), state: Some(state.clone()) };
    registry.open(&tables, &setup).map_err(|e| StartError::Capability(located(&e, file.as_deref())))?;
    policy.check_held(&registry)?;
    warn_of_unavailable(&registry);
    let plan = listen(&socket, access)?;
    let approval = listen(&approval_socket, access)?;
    let mut boot = [0; 6];
    getrandom::fill(&mut boot).map_err(io::Error::other)?;
    let desk = Desk::new(Duration::from_secs(config.confirmation.pending_s), config.confirmation.max_pending);
    let host = Arc::new(Host {
        registry,
        log,
        desk,
        roots,
        display,
        running: Running::new(config.limits.running, config.limits.queued),
        limits: config.limits,
        plan_uids,
        approver_uids,
        policy_source: source,
        policy: RwLock::new(Arc::new(policy)),
        protected,
        boot: hex(&boot),
        runs: AtomicU64::new(1),
        connections: AtomicU64::new(1),
    });
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(workers()).enable_all().build()?;
    let served = runtime.block_on(serve(host, plan, approval, &socket));
    let _ = (fs::remove_file(&socket), fs::remove_file(&approval_socket));
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
    let data = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "policy": host.policy_source.to_string(),
        "policy_sha256": host.policy().policy_sha256(),
        "roots": host.roots,
        "display": host.display,
    });
    let _durable = host.log.write(vec![Entry { data: Some(data), ..Entry::new(Event::Start) }]).await?;
    let (plan, approval) =
        (tokio::net::UnixListener::from_std(plan)?, tokio::net::UnixListener::from_std(approval)?);
    tracing::info!(socket = %socket.display(), policy = %host.policy_source, "ready");
    let serving = server::serve(host.clone(), plan, approval, stop.clone());
    let mut serving = std::pin::pin!(serving);
    tokio::select! {
        () = &mut serving => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping: what runs may end within {} s", host.limits.stop_s);
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

fn read_config(args: &RunArgs, places: &Places) -> Result<(Config, Option<PathBuf>), StartError> {
    let file = match &args.config {
        Some(file) => Some(std::path::absolute(file)?),
        None => Some(places.config.clone()).filter(|file| file.exists()),
    };
    let config = file.as_deref().map(Config::read).transpose()?.unwrap_or_default();
    Ok((config, file))
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

/// The display that plans may drive: a flag over what is configured, and none where neither is given.
fn display(
    size: Option<Size>,
    name: Option<Name>,
    configured: &DisplayConfig,
    state: &Path,
) -> Result<(Option<VirtualDisplay>, Option<Display>), StartError> {
    let (size, name) = match (size, name) {
        (None, None) => (configured.own, configured.name.clone()),
        given => given,
    };
    match (size, name) {
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

/// The roots in their real form; without any, the workspace, which is then made.
fn real_roots(configured: &[RootConfig], workspace: &Path) -> Result<Vec<Root>, StartError> {
    let default = RootConfig { path: workspace.to_owned(), mode: RootMode::Write };
    let configured = if configured.is_empty() {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(workspace);
        made.map_err(|source| StartError::Root { path: workspace.to_owned(), source })?;
        std::slice::from_ref(&default)
    } else {
        configured
    };
    let real = |root: &RootConfig| {
        let refused = |source| StartError::Root { path: root.path.clone(), source };
        let path = fs::canonicalize(&root.path).map_err(refused)?;
        if !path.is_dir() {
            return Err(refused(io::Error::new(io::ErrorKind::NotADirectory, "it is not a directory")));
        }
        Ok(Root { path, mode: root.mode })
    };
    configured.iter().map(real).collect()
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
