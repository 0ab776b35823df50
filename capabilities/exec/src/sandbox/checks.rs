//! What this machine can hold programs by, for `llm-osd doctor`.

use llm_os_core::Check;

use super::machine::Machine;
use crate::config::{Layer, SandboxConfig};

/// A finding for each layer, and for what comes with one.
pub(crate) fn checks(config: &SandboxConfig) -> Vec<Check> {
    let machine = Machine::probe(config);
    let mut checks: Vec<_> = Layer::ALL.into_iter().map(|layer| check(&machine, config, layer)).collect();
    checks.push(landlock_abi(&machine, config));
    // It is a part of the root that a mount namespace makes possible.
    let root = check(&machine, config, Layer::MountNamespace);
    checks.push(Check { name: "private_tmp".to_owned(), required: false, ..root });
    checks
}

fn check(machine: &Machine, config: &SandboxConfig, layer: Layer) -> Check {
    let check = if machine.has(layer) {
        let detail = if layer == Layer::Cgroup { "memory, pids" } else { "" };
        Check::held(layer.as_str(), detail)
    } else {
        Check::lacking(layer.as_str(), machine.why_not(layer))
    };
    Check { required: config.require.contains(&layer), ..check }
}

fn landlock_abi(machine: &Machine, config: &SandboxConfig) -> Check {
    let (found, least) = (machine.landlock_abi, config.landlock_abi);
    let detail = format!("found {found}, required {least}");
    Check { name: "landlock_abi".to_owned(), held: found >= least, required: least > 0, detail }
}
