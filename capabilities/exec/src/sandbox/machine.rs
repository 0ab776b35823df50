//! Which layers this machine has: found out by using them, once, when the host starts.

use std::collections::BTreeMap;
use std::ffi::{CString, c_uint};
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use landlock::{ABI, Access, AccessNet, Scope};
use llm_os_core::{Network, Reach};
use rustix::fs::{Mode, OFlags};

use super::Kind;
use super::filter::{self, Shape};
use super::group::{Group, Groups};
use super::view::{self, Wanted, bits, known};
use crate::config::{Layer, SandboxConfig};
use crate::spawn::blueprint::{Blueprint, Landlock};
use crate::spawn::{self, Isolation, Launcher, Program, Report, Stage};

/// What was found.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    isolation: Option<Isolation>,
    views: bool,
    /// Whether a view can have a `/proc` of its own.
    processes: bool,
    pub(crate) landlock_abi: u32,
    pub(crate) groups: Option<Arc<Groups>>,
    /// Why a layer cannot be had.
    lacking: BTreeMap<Layer, String>,
}

/// The ways to hold programs, the best one first: the isolation, whether with a view, whether with a `/proc`.
const WAYS: [(Isolation, bool, bool); 7] = [
    (Isolation::Pid, true, true),
    (Isolation::Pid, true, false),
    (Isolation::Pid, false, false),
    (Isolation::UserAndPid, true, true),
    (Isolation::UserAndPid, true, false),
    (Isolation::UserAndPid, false, false),
    (Isolation::Subreaper, false, false),
];

impl Machine {
    /// Tries the ways until one works.
    pub(crate) fn probe(config: &SandboxConfig) -> Self {
        let mut machine = Self {
            isolation: None,
            views: false,
            processes: false,
            landlock_abi: spawn::landlock_abi(),
            groups: None,
            lacking: BTreeMap::new(),
        };
        if machine.landlock_abi == 0 {
            let why = "this kernel has no Landlock, or it is not among the modules that it starts (lsm=)";
            machine.lacking.insert(Layer::Landlock, why.to_owned());
        }
        match Groups::find(config) {
            Ok(groups) if groups.lacking.is_empty() => machine.groups = Some(Arc::new(groups)),
            Ok(groups) => {
                let lacking = groups.lacking.join(" and ");
                machine.lacking.insert(Layer::Cgroup, format!("the delegated control group lacks {lacking}"));
                machine.groups = Some(Arc::new(groups));
            }
            Err(why) => drop(machine.lacking.insert(Layer::Cgroup, why)),
        }
        let mut why = Vec::new();
        for (isolation, views, processes) in WAYS {
            let candidate = Self { isolation: Some(isolation), views, processes, ..machine.clone() };
            match candidate.try_out(config) {
                Ok(()) => {
                    machine = candidate;
                    break;
                }
                Err(e) => why.push((isolation, views, e)),
            }
        }
        machine.explain(&why);
        machine
    }

    /// Starts no program in a sandbox: everything up to its directory, which is none, must work.
    fn try_out(&self, config: &SandboxConfig) -> Result<(), String> {
        if self.isolation == Some(Isolation::Subreaper) && self.landlock_abi < SIGNALS_SINCE {
            return Err(format!(
                "without a PID namespace what a program leaves behind is killed within the scope of signals that \
                 Landlock has since ABI {SIGNALS_SINCE}; this kernel has {}",
                self.landlock_abi
            ));
        }
        let kind = Kind {
            reach: Reach::default(),
            network: Network::None,
            execute: true,
            display: None,
            identities: Vec::new(),
        };
        match self.start_nothing(&self.blueprint(&kind, config)?).map_err(|e| e.to_string())? {
            Some(Report::Failed(failed)) if failed.stage == Stage::Place => Ok(()),
            Some(Report::Failed(failed)) => Err(io::Error::from(failed).to_string()),
            other => Err(format!("the init told {other:?}")),
        }
    }

    fn start_nothing(&self, blueprint: &Blueprint) -> io::Result<Option<Report>> {
        let launcher = Launcher::start(blueprint)??;
        let group = self.groups.as_ref().map(|groups| groups.make()).transpose()?;
        let init = launcher.collect(launcher.order(group.as_ref().map(Group::processes))?)?;
        let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        let tree = init.run(
            &Program {
                image: null.as_fd(),
                argv: &[c"nothing".to_owned()],
                env: &[],
                directory: c"/",
                directory_identity: (0, 0),
                stdio: [null.as_fd(), null.as_fd(), null.as_fd()],
                script: None,
                tty: false,
            },
            group,
        )?;
        spawn::wait(&tree.pidfd, 0)?;
        spawn::report(&tree.report)
    }

    /// Says of each layer that is lacking what was tried and how it went.
    fn explain(&mut self, tried: &[(Isolation, bool, String)]) {
        let why = |views: bool| {
            let fitting = tried.iter().filter(|(isolation, with_view, _)| {
                *with_view == views && *isolation != Isolation::Subreaper
            });
            fitting.map(|(isolation, _, e)| format!("{isolation:?}: {e}")).collect::<Vec<_>>().join("; ")
        };
        let next = "allow user namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, \
                    kernel.apparmor_restrict_unprivileged_userns; in a container its seccomp profile), or run the host as \
                    root";
        if !self.views {
            self.lacking.insert(Layer::MountNamespace, format!("{next} ({})", why(true)));
        }
        if !matches!(self.isolation, Some(Isolation::Pid | Isolation::UserAndPid)) {
            for layer in
                [Layer::PidNamespace, Layer::NetworkNamespace, Layer::IpcNamespace, Layer::UtsNamespace]
            {
                self.lacking.insert(layer, format!("{next} ({})", why(false)));
            }
        }
        if self.isolation != Some(Isolation::UserAndPid) {
            let why = match self.isolation {
                Some(Isolation::Pid) => "the host may make the others without one",
                _ => next,
            };
            self.lacking.insert(Layer::UserNamespace, why.to_owned());
        }
        if self.isolation.is_none() {
            let last = tried.last().map_or("nothing was tried", |(_, _, e)| e);
            self.lacking.insert(Layer::Seccomp, last.to_owned());
        }
    }

    /// Whether a layer is in force.
    pub(crate) fn has(&self, layer: Layer) -> bool {
        self.isolation.is_some() && !self.lacking.contains_key(&layer)
    }

    /// Why it is not.
    pub(crate) fn why_not(&self, layer: Layer) -> &str {
        self.lacking.get(&layer).map_or("no program can be contained here at all", String::as_str)
    }

    /// Why programs cannot be held to this network, if so.
    pub(crate) fn cannot_hold(&self, network: &Network) -> Option<String> {
        let has_no_ports = matches!(network, Network::Ports(_)) && self.landlock_abi < PORTS_SINCE;
        has_no_ports.then(|| {
            format!(
                "@network names ports, which Landlock holds since ABI {PORTS_SINCE}; this kernel has {}",
                self.landlock_abi
            )
        })
    }

    pub(crate) fn isolation(&self) -> Isolation {
        self.isolation.unwrap_or(Isolation::Subreaper)
    }

    /// The layers that hold programs of a kind.
    pub(crate) fn layers(&self, kind: &Kind) -> Vec<Layer> {
        let network = kind.network.is_none();
        let own = |layer: &Layer| *layer != Layer::NetworkNamespace || network;
        Layer::ALL.into_iter().filter(|layer| self.has(*layer) && own(layer)).collect()
    }

    /// Why the host must not start, if so.
    pub(crate) fn missing(&self, config: &SandboxConfig) -> Option<String> {
        let layer = config.require.iter().find(|layer| !self.has(**layer));
        if let Some(layer) = layer {
            return Some(format!(
                "[capabilities.exec.sandbox] requires {}, which this machine does not have: {}",
                layer.as_str(),
                self.why_not(*layer)
            ));
        }
        (self.landlock_abi < config.landlock_abi).then(|| {
            format!(
                "[capabilities.exec.sandbox] requires landlock_abi = {}, and this kernel has {}",
                config.landlock_abi, self.landlock_abi
            )
        })
    }

    /// What launcher and inits of a kind are to be.
    pub(crate) fn blueprint(&self, kind: &Kind, config: &SandboxConfig) -> Result<Blueprint, String> {
        let isolation = self.isolation();
        let abi = abi(self.landlock_abi);
        let wanted = Wanted {
            reach: &kind.reach,
            execute: kind.execute,
            network: !kind.network.is_none(),
            display: kind.display.as_ref().map(|(socket, cookie)| (socket.as_path(), cookie.as_deref())),
            temporary_bytes: config.temporary_bytes,
            processes: self.processes,
            abi,
        };
        let (view, rules) = if self.views {
            let (view, rules) = view::plan(&wanted)?;
            (Some(view), rules)
        } else {
            (None, view::rules(&wanted))
        };
        let ports = match &kind.network {
            Network::Ports(ports) => ports.clone(),
            Network::None | Network::All => Vec::new(),
        };
        let landlock = (self.landlock_abi > 0).then(|| Landlock {
            files: bits(known(abi)),
            network: if kind.network == Network::All { 0 } else { AccessNet::from_all(abi).bits() },
            scopes: Scope::from_all(abi).bits(),
            rules,
            ports,
        });
        let shape = Shape {
            network: (&kind.network).into(),
            unix: kind.display.is_some(),
            execute: kind.execute,
            attributes: self.views,
            groups: !rustix::process::geteuid().is_root(),
        };
        let processes = pids_are_counted_by_namespace().then(|| config.processes.to_string());
        Ok(Blueprint {
            isolation,
            view,
            network: !kind.network.is_none(),
            landlock,
            filter: filter::compile(&shape)?,
            limits: limits(config, isolation),
            processes: processes.map(|text| CString::new(text).expect("digits")),
            maps: (isolation == Isolation::UserAndPid).then(spawn::own_maps),
        })
    }
}

/// Landlock tells signals within a domain from others since this ABI.
const SIGNALS_SINCE: u32 = 6;
/// Landlock knows of TCP ports since this ABI.
const PORTS_SINCE: u32 = 4;

/// The newest ABI that both this host and the kernel know.
fn abi(found: u32) -> ABI {
    match found {
        0 => ABI::Unsupported,
        1 => ABI::V1,
        2 => ABI::V2,
        3 => ABI::V3,
        4 => ABI::V4,
        5 => ABI::V5,
        _ => ABI::V6,
    }
}

/// The limits of setrlimit(2). `RLIMIT_DATA` counts what a process can write to, not what it only reserves.
fn limits(config: &SandboxConfig, isolation: Isolation) -> Vec<(c_uint, libc::rlimit)> {
    let exactly = |limit| libc::rlimit { rlim_cur: limit, rlim_max: limit };
    let mut limits = vec![
        (libc::RLIMIT_CORE, exactly(0)),
        (libc::RLIMIT_FSIZE, exactly(config.file_bytes)),
        (libc::RLIMIT_NOFILE, exactly(config.open_files)),
        // At the first the program is told by SIGXCPU, at the second it is killed.
        (libc::RLIMIT_CPU, libc::rlimit { rlim_cur: config.cpu_s, rlim_max: config.cpu_s.saturating_add(1) }),
        (libc::RLIMIT_DATA, exactly(config.memory_bytes)),
    ];
    // It counts all processes of the user outside of a user namespace, and none of root's.
    if isolation == Isolation::UserAndPid {
        limits.push((libc::RLIMIT_NPROC, exactly(config.processes)));
    }
    limits
}

/// Since Linux 6.14 `/proc/sys/kernel/pid_max` belongs to its PID namespace; before, it is everybody's.
fn pids_are_counted_by_namespace() -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|text| text.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(14))
}
