//! What a host is set up with: flags over the configuration over the defaults, looked at without changing anything.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use llm_os_core::Root;

use crate::cli::RunArgs;
use crate::config::{Config, ConfigError, RootConfig};
use crate::display::{DisplayConfig, Name, Size};
use crate::places::Places;
use crate::policy::{PolicyError, Protected, Source};
use crate::server::Access;
use crate::start::StartError;

/// The settings of one start.
pub(crate) struct Settings {
    pub(crate) config: Config,
    /// The configuration file, where one was read.
    pub(crate) file: Option<PathBuf>,
    pub(crate) places: Places,
    pub(crate) socket: PathBuf,
    pub(crate) approval_socket: PathBuf,
    pub(crate) state: PathBuf,
    pub(crate) source: Source,
    /// The file of those who must sign approvals, where they are signed.
    pub(crate) approvers: Option<PathBuf>,
    /// As they were named; empty where the workspace is the one root.
    pub(crate) roots: Vec<RootConfig>,
    /// The display that plans may drive: a flag over what is configured, and none where neither is given.
    pub(crate) display: DisplayConfig,
}

impl Settings {
    /// Reads the configuration and puts the flags over it.
    ///
    /// # Errors
    ///
    /// A configuration that is refused, or no home directory.
    pub(crate) fn of(args: RunArgs) -> Result<Self, StartError> {
        let places = Places::find()?;
        let file = match &args.config {
            Some(file) => Some(std::path::absolute(file)?),
            None => Some(places.config.clone()).filter(|file| file.exists()),
        };
        let config = file.as_deref().map(Config::read).transpose()?.unwrap_or_default();
        let source = args.policy.or(config.policy.clone()).map_or(Ok(Source::default()), |text| text.parse());
        Ok(Self {
            socket: args.socket.or(config.socket.clone()).unwrap_or(places.socket.clone()),
            approval_socket: args
                .approval_socket
                .or(config.approval_socket.clone())
                .unwrap_or(places.approval_socket.clone()),
            state: args.state_dir.or(config.state_dir.clone()).unwrap_or(places.state.clone()),
            source: source.map_err(StartError::PolicySource)?,
            roots: config.roots.iter().cloned().chain(args.roots.into_iter().map(|root| root.0)).collect(),
            approvers: approvers(&config, file.as_deref()),
            display: display(args.virtual_display, args.display, &config.display),
            config,
            file,
            places,
        })
    }

    /// What no policy can grant.
    ///
    /// # Errors
    ///
    /// A place that has no real form.
    pub(crate) fn protected(&self) -> Result<Protected, StartError> {
        let policy = match &self.source {
            Source::Path(path) => Some(std::path::absolute(path)?),
            Source::Preset(_) => None,
        };
        let own =
            [Some(self.places.config.clone()), self.file.clone(), policy, Some(std::env::current_exe()?)];
        let own = own.into_iter().chain([self.approvers.clone()]).flatten();
        let protected: Result<_, PolicyError> = Protected::new(own.chain(self.directories()));
        Ok(protected?)
    }

    /// The directories that are the host's own: of its state, and of each socket.
    pub(crate) fn directories(&self) -> impl Iterator<Item = PathBuf> {
        let sockets = [&self.socket, &self.approval_socket].into_iter();
        let sockets = sockets.filter_map(|socket| socket.parent().map(Path::to_owned));
        std::iter::once(self.state.clone()).chain(sockets)
    }

    /// Who may send plans, and who may approve: the host's own user where nothing else is said.
    pub(crate) fn uids(&self) -> [BTreeSet<u32>; 2] {
        let own = rustix::process::geteuid().as_raw();
        [&self.config.plan_uids, &self.config.approver_uids]
            .map(|list| list.clone().map_or(BTreeSet::from([own]), BTreeSet::from_iter))
    }

    /// Who may reach the sockets.
    ///
    /// # Errors
    ///
    /// Other users without the group by which they do.
    pub(crate) fn access(&self) -> Result<Access, StartError> {
        let own = rustix::process::geteuid().as_raw();
        let others = self.uids().iter().flatten().any(|uid| *uid != own);
        match (others, self.config.socket_gid) {
            (true, Some(gid)) => Ok(Access::Group(gid)),
            (true, None) => {
                let why =
                    "plan_uids or approver_uids list other users: name the group that may reach the sockets";
                let path = self.file.clone().unwrap_or_else(|| self.places.config.clone());
                Err(ConfigError::Value { path, field: "socket_gid", why: why.to_owned() }.into())
            }
            (false, _) => Ok(Access::Own),
        }
    }
}

/// The file of approvers, beside the configuration unless it is absolute.
fn approvers(config: &Config, file: Option<&Path>) -> Option<PathBuf> {
    let beside = file.and_then(Path::parent).unwrap_or(Path::new("/"));
    config.confirmation.approvers.as_ref().map(|path| beside.join(path))
}

fn display(size: Option<Size>, name: Option<Name>, configured: &DisplayConfig) -> DisplayConfig {
    let halt_chord = configured.halt_chord.clone();
    match (size, name) {
        (None, None) => configured.clone(),
        (own, name) => DisplayConfig { own, name, halt_chord },
    }
}

/// A root in its real form.
///
/// # Errors
///
/// One that is not there, or no directory.
pub(crate) fn real_root(root: &RootConfig) -> Result<Root, StartError> {
    let refused = |source| StartError::Root { path: root.path.clone(), source };
    let path = fs::canonicalize(&root.path).map_err(refused)?;
    if !path.is_dir() {
        return Err(refused(io::Error::new(io::ErrorKind::NotADirectory, "it is not a directory")));
    }
    Ok(Root { path, mode: root.mode })
}
