//! What holds a program: which layers this machine has, which are required, and what each kind of program gets of them.
//!
//! Programs that may reach the same places in the same ways are of one [`Kind`]. For each kind there is one launcher with
//! its view of the file system, which keeps an init ready ([`pool`]); the policy that a plan began with says of which kind
//! its programs are.

mod checks;
mod filter;
mod group;
mod machine;
mod pool;
mod system;
mod view;

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use llm_os_core::{Code, Context, Display, Fault, Network, Profile, Reach};
use schemars::JsonSchema;
use serde::Serialize;

use crate::EXEC_FAILED;
use crate::config::{Layer, SandboxConfig};
use crate::spawn::{Failed, Isolation, Program, Stage, Tree};

pub(crate) use checks::checks;
pub(crate) use filter::IMAGE;
pub(crate) use group::Group;
pub(crate) use system::holds as system_holds;
pub(crate) use view::AUTHORITY;

use machine::Machine;
use pool::Pool;

/// How many kinds have a launcher at once; the one that was used least recently ends for another.
const KINDS: usize = 16;

/// The sandbox of this host.
pub(crate) struct Sandbox {
    config: SandboxConfig,
    machine: Machine,
    pools: Mutex<Pools>,
}

#[derive(Default)]
struct Pools {
    by_kind: HashMap<Kind, (u64, Arc<Pool>)>,
    used: u64,
}

/// Programs that are held alike.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Kind {
    pub(crate) reach: Reach,
    pub(crate) network: Network,
    /// Whether they may start other programs.
    pub(crate) execute: bool,
    /// The socket of the display that they were given, and its cookie.
    pub(crate) display: Option<(PathBuf, Option<PathBuf>)>,
    /// Device and inode of each of these places: one that was replaced is another one.
    pub(crate) identities: Vec<Option<(u64, u64)>>,
}

/// What holds one program.
pub(crate) struct Contained {
    pool: Arc<Pool>,
    pub(crate) isolation: Isolation,
    /// For the answer and the record.
    pub(crate) containment: Containment,
}

/// What held a program while it ran.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Containment {
    /// The layers that were in force.
    pub layers: Vec<Layer>,
    /// The version of Landlock's interface; 0 where the kernel has none.
    pub landlock_abi: u32,
    /// Whether it could start other programs: only where a human confirmed it, or the policy says `@execute("yes")`.
    pub execute: bool,
    /// Which network it had: `none`, `all`, or the TCP ports that it could connect to.
    pub network: String,
}

impl Sandbox {
    /// Finds out what this machine has, and refuses to go on without what is required.
    ///
    /// # Errors
    ///
    /// A required layer that is missing, with why.
    pub(crate) fn open(config: SandboxConfig) -> Result<Self, Fault> {
        let machine = Machine::probe(&config);
        if let Some(why) = machine.missing(&config) {
            return Err(Fault::new(Code::UNAVAILABLE, why).keeps_host_from_starting());
        }
        Ok(Self { config, machine, pools: Mutex::default() })
    }

    /// Whether programs see a root of their own.
    pub(crate) fn has_views(&self) -> bool {
        self.machine.has(Layer::MountNamespace)
    }

    /// What will hold a program of an action, to whose reach the policies that let it run add this.
    ///
    /// # Errors
    ///
    /// What the policy says and this machine cannot hold.
    pub(crate) fn contain(
        &self,
        cx: &Context,
        profile: &Profile,
        display: Option<&Display>,
    ) -> Result<Contained, Fault> {
        let kind = self.kind(cx, profile, display)?;
        let containment = Containment {
            layers: self.machine.layers(&kind),
            landlock_abi: self.machine.landlock_abi,
            execute: kind.execute,
            network: match &kind.network {
                Network::None => "none".to_owned(),
                Network::All => "all".to_owned(),
                Network::Ports(ports) => {
                    let ports: Vec<_> = ports.iter().map(u16::to_string).collect();
                    format!("tcp {}", ports.join(","))
                }
            },
        };
        let pool = self.pool(kind)?;
        Ok(Contained { pool, isolation: self.machine.isolation(), containment })
    }

    /// Why this machine cannot hold a program to a reach and a profile, if so.
    pub(crate) fn cannot_hold(&self, reach: &Reach, profile: &Profile) -> Option<String> {
        let unheld = reach.hidden.first().or(reach.kept.first());
        if let Some(path) = unheld.filter(|_| !self.has_views()) {
            return Some(format!(
                "the policy keeps programs from {} inside of what they may reach, which needs a mount namespace: {}",
                path.display(),
                self.machine.why_not(Layer::MountNamespace)
            ));
        }
        self.machine.cannot_hold(&profile.network)
    }

    fn kind(&self, cx: &Context, profile: &Profile, display: Option<&Display>) -> Result<Kind, Fault> {
        let mut reach = cx.reach();
        reach.read.extend(profile.read.iter().cloned());
        reach.write.extend(profile.write.iter().cloned());
        if let Some(why) = self.cannot_hold(&reach, profile) {
            return Err(Fault::new(Code::UNAVAILABLE, why));
        }
        let display = match display {
            Some(_) if !self.has_views() => {
                let message = format!(
                    "a display cannot be given to a program here, since its other sockets could not be kept away: {}",
                    self.machine.why_not(Layer::MountNamespace)
                );
                return Err(Fault::new(Code::UNAVAILABLE, message).at("display"));
            }
            Some(display) => Some(crate::display::files(display)),
            None => None,
        };
        let execute = cx.confirmed() || profile.execute;
        let given = display.iter().flat_map(|(socket, cookie)| [socket].into_iter().chain(cookie));
        let places = reach.read.iter().chain(&reach.write).chain(given);
        let identity = |path: &PathBuf| path.metadata().ok().map(|found| (found.dev(), found.ino()));
        let identities = places.map(identity).collect();
        Ok(Kind { reach, network: profile.network.clone(), execute, display, identities })
    }

    fn pool(&self, kind: Kind) -> Result<Arc<Pool>, Fault> {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools.used += 1;
        let now = pools.used;
        if let Some((used, pool)) = pools.by_kind.get_mut(&kind)
            && pool.is_whole()
        {
            *used = now;
            return Ok(pool.clone());
        }
        let failed = |what: String| Fault::new(EXEC_FAILED, format!("nothing was started: {what}"));
        let blueprint = self.machine.blueprint(&kind, &self.config).map_err(failed)?;
        let pool = Arc::new(Pool::start(&blueprint, self.machine.groups.clone()).map_err(|e| {
            failed(format!("the sandbox cannot be put together: {e}")).log(format!("{kind:?}: {e}"))
        })?);
        if pools.by_kind.len() >= KINDS
            && let Some(oldest) = pools.by_kind.iter().min_by_key(|(_, (used, _))| *used)
        {
            let oldest = oldest.0.clone();
            pools.by_kind.remove(&oldest);
        }
        pools.by_kind.insert(kind, (now, pool.clone()));
        Ok(pool)
    }
}

impl Contained {
    /// Starts a program in it.
    ///
    /// # Errors
    ///
    /// No process can be made.
    pub(crate) fn start(&self, program: &Program<'_>) -> std::io::Result<Tree> {
        self.pool.start_program(program)
    }

    /// A program could not be started in it. Where that is because the view is not what it was made of any more, the next
    /// program gets a new one.
    pub(crate) fn take_note_of(&self, failed: Failed) {
        if matches!(failed.stage, Stage::Place | Stage::Covers) {
            self.pool.give_up();
        }
    }
}
