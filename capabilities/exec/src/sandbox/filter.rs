//! Which system calls a program may make: an allow-list for seccomp(2), compiled once for each [`Shape`].
//!
//! What is not listed answers `EPERM`. Calls that this list is too old to know, and `clone3`, whose flags seccomp cannot
//! see, answer `ENOSYS`, so that programs fall back to what they can do (glibc does). A call of another architecture
//! (32-bit entry) ends the program; the x32 entry is numbered beyond the list.
//!
//! The calls that are always let through are found by a search tree, since the kernel walks a new filter once for each
//! call that exists; only what depends on arguments goes through the rules of seccompiler.

mod calls;

use std::collections::{BTreeMap, BTreeSet};

use libc::{c_int, c_long};
use llm_os_core::Network;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, sock_filter,
};

use calls::{ATTRIBUTES, PLAIN};
#[cfg(target_arch = "x86_64")]
use calls::{OLDER, OLDER_ATTRIBUTES};

/// What a filter lets through beside what every program may do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Shape {
    /// Network sockets.
    pub(crate) network: Sockets,
    /// Sockets of the machine itself (unix(7)), for a program that was given a display.
    pub(crate) unix: bool,
    /// Starting other programs.
    pub(crate) execute: bool,
    /// Changing modes, owners, times and attributes of files: refused where nothing mounts what is outside of the write
    /// roots read-only, since Landlock does not know of these.
    pub(crate) attributes: bool,
    /// Setting its groups as far as the kernel lets it. Otherwise it has none that it could give up, since a host that is
    /// root gave them up for it, and doing so succeeds: what root starts insists on it (xterm does).
    pub(crate) groups: bool,
}

/// Which network sockets can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Sockets {
    /// None.
    None,
    /// Only TCP, which Landlock holds to its ports.
    Tcp,
    /// TCP, UDP and the kernel's routing tables.
    All,
}

impl From<&Network> for Sockets {
    fn from(network: &Network) -> Self {
        match network {
            Network::None => Sockets::None,
            Network::Ports(_) => Sockets::Tcp,
            Network::All => Sockets::All,
        }
    }
}

/// The descriptor that a program is executed from, and the only one where it may start no other.
pub(crate) const IMAGE: c_int = 200;

/// What has a higher number and is not listed is taken for a call of a newer kernel (`futex_waitv`, Linux 5.16).
const NEWEST: c_long = libc::SYS_futex_waitv;
/// The highest number of a listed call.
const HIGHEST: c_long = libc::SYS_mseal;

/// Compiles the filter of a shape.
pub(crate) fn compile(shape: &Shape) -> Result<BpfProgram, String> {
    let arch: TargetArch =
        std::env::consts::ARCH.try_into().map_err(|e: seccompiler::BackendError| e.to_string())?;
    let mut always: BTreeSet<c_long> = PLAIN.iter().copied().collect();
    #[cfg(target_arch = "x86_64")]
    always.extend(OLDER);
    if shape.attributes {
        always.extend(ATTRIBUTES);
        #[cfg(target_arch = "x86_64")]
        always.extend(OLDER_ATTRIBUTES);
    }
    if shape.execute {
        always.extend([libc::SYS_execve, libc::SYS_execveat]);
    }
    let conditional = conditional(shape).map_err(|e| e.to_string())?;
    let refused = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    let rest = SeccompFilter::new(conditional, refused, SeccompAction::Allow, arch);
    let rest: BpfProgram = rest.and_then(TryInto::try_into).map_err(|e| e.to_string())?;
    Ok(search(arch, &always, shape.groups).into_iter().chain(rest).collect())
}

/// The calls that depend on their arguments. Rules of one call are alternatives; the conditions of a rule all hold.
fn conditional(shape: &Shape) -> Result<BTreeMap<c_long, Vec<SeccompRule>>, seccompiler::BackendError> {
    use SeccompCmpArgLen::{Dword, Qword};
    use SeccompCmpOp::{Eq, MaskedEq, Ne};
    let holds = |arg, len, op, value: c_long| SeccompCondition::new(arg, len, op, value.cast_unsigned());
    let int = |arg, op, value: c_int| holds(arg, Dword, op, value.into());
    let mut rules = BTreeMap::new();

    // No namespaces.
    let kinds = [
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWNS,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWNET,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWUTS,
        libc::CLONE_NEWCGROUP,
    ];
    let new = kinds.iter().fold(0, |all, kind| all | c_long::from(*kind)).cast_unsigned();
    // The bit of a time namespace belongs to the exit signal in clone(2).
    for (call, time) in [(libc::SYS_clone, 0), (libc::SYS_unshare, 0x80)] {
        rules.insert(call, vec![SeccompRule::new(vec![holds(0, Qword, MaskedEq(new | time), 0)?])?]);
    }
    // Nothing is typed into a terminal for somebody else (TIOCSTI, and the console's selection, TIOCLINUX).
    let typed = [int(1, Ne, 0x5412)?, int(1, Ne, 0x541c)?];
    rules.insert(libc::SYS_ioctl, vec![SeccompRule::new(typed.to_vec())?]);
    // The layout of memory may be asked for, and made predictable (debuggers do), never read implied by executed.
    let personalities = [0, 0xffff_ffff_u32.cast_signed(), libc::ADDR_NO_RANDOMIZE];
    let asked = personalities.into_iter().map(|known| SeccompRule::new(vec![int(0, Eq, known)?]));
    rules.insert(libc::SYS_personality, asked.collect::<Result<_, _>>()?);
    // Pairs of sockets are pipes; one for datagrams could be sent from to any name.
    let pair = |kind| SeccompRule::new(vec![int(0, Eq, libc::AF_UNIX)?, int(1, MaskedEq(0xf), kind)?]);
    rules.insert(libc::SYS_socketpair, vec![pair(libc::SOCK_STREAM)?, pair(libc::SOCK_SEQPACKET)?]);
    let mut sockets = Vec::new();
    let family = |family| int(0, Eq, family);
    if shape.unix {
        sockets
            .push(SeccompRule::new(vec![family(libc::AF_UNIX)?, int(1, MaskedEq(0xf), libc::SOCK_STREAM)?])?);
    }
    let kinds: &[c_int] = match shape.network {
        Sockets::None => &[],
        Sockets::Tcp => &[libc::SOCK_STREAM],
        Sockets::All => &[libc::SOCK_STREAM, libc::SOCK_DGRAM],
    };
    for kind in kinds {
        for inet in [libc::AF_INET, libc::AF_INET6] {
            // Of the protocols only those that the kind stands for: 0, TCP and UDP.
            let protocol = if *kind == libc::SOCK_STREAM { libc::IPPROTO_TCP } else { libc::IPPROTO_UDP };
            for protocol in [0, protocol] {
                let rule = vec![family(inet)?, int(1, MaskedEq(0xf), *kind)?, int(2, Eq, protocol)?];
                sockets.push(SeccompRule::new(rule)?);
            }
        }
    }
    if shape.network == Sockets::All {
        sockets.push(SeccompRule::new(vec![family(libc::AF_NETLINK)?, int(2, Eq, libc::NETLINK_ROUTE)?])?);
    }
    if !sockets.is_empty() {
        rules.insert(libc::SYS_socket, sockets);
    }
    if !shape.execute {
        // The host's own start of the program: the descriptor is gone once it runs.
        let image = vec![int(0, Eq, IMAGE)?, int(4, Eq, libc::AT_EMPTY_PATH)?];
        rules.insert(libc::SYS_execveat, vec![SeccompRule::new(image)?]);
    }
    Ok(rules)
}

/// Instructions in front of the rules: another architecture goes on to them (they end it), what is listed is let through,
/// what is newer answers `ENOSYS`, and what is left goes on to the rules.
fn search(arch: TargetArch, always: &BTreeSet<c_long>, groups: bool) -> Vec<sock_filter> {
    let audit = match arch {
        TargetArch::x86_64 => 0xc000_003e,
        TargetArch::aarch64 => 0xc000_00b7,
        TargetArch::riscv64 => 0xc000_00f3,
    };
    let verdict = |call: c_long| match call {
        libc::SYS_setgroups if !groups => Leaf::Done,
        _ if always.contains(&call) => Leaf::Allow,
        _ if call > NEWEST || call == libc::SYS_clone3 => Leaf::Absent,
        _ => Leaf::GoOn,
    };
    // Where the verdict changes, with what it is from there on.
    let mut turns = vec![(0, verdict(0))];
    for call in 1..=HIGHEST + 1 {
        if turns.last().is_some_and(|(_, before)| *before != verdict(call)) {
            turns.push((call, verdict(call)));
        }
    }
    let mut tree = Vec::new();
    branch(&turns, &mut tree);
    let end = tree.len();
    for (at, step) in tree.iter_mut().enumerate() {
        if step.code == JUMP && step.k == TO_THE_END {
            step.k = u32::try_from(end - at - 1).expect("a filter is short");
        }
    }
    let start = [
        step(LOAD, 4, 0, 0),
        step(IF_EQUAL, audit, 1, 0),
        step(JUMP, u32::try_from(end + 1).expect("a filter is short"), 0, 0),
        step(LOAD, 0, 0, 0),
    ];
    start.into_iter().chain(tree).collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Leaf {
    Allow,
    /// It succeeds and does nothing.
    Done,
    Absent,
    GoOn,
}

// Instructions of classic BPF (linux/bpf_common.h), and what a filter returns (linux/seccomp.h).
const LOAD: u16 = 0x20;
const JUMP: u16 = 0x05;
const IF_EQUAL: u16 = 0x15;
const IF_AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;
const RET_ALLOW: u32 = 0x7fff_0000;
const RET_ERRNO: u32 = 0x0005_0000;
const TO_THE_END: u32 = u32::MAX;

fn step(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

fn branch(turns: &[(c_long, Leaf)], tree: &mut Vec<sock_filter>) {
    if let [(_, leaf)] = turns {
        tree.push(match leaf {
            Leaf::Allow => step(RETURN, RET_ALLOW, 0, 0),
            Leaf::Done => step(RETURN, RET_ERRNO, 0, 0),
            Leaf::Absent => step(RETURN, RET_ERRNO | libc::ENOSYS.cast_unsigned(), 0, 0),
            Leaf::GoOn => step(JUMP, TO_THE_END, 0, 0),
        });
        return;
    }
    let (below, above) = turns.split_at(turns.len() / 2);
    let mut left = Vec::new();
    branch(below, &mut left);
    let middle = u32::try_from(above[0].0).expect("numbers of calls are small");
    let skipped = u32::try_from(left.len()).expect("a filter is short");
    match u8::try_from(skipped) {
        Ok(skipped) => tree.push(step(IF_AT_LEAST, middle, skipped, 0)),
        Err(_) => tree.extend([step(IF_AT_LEAST, middle, 0, 1), step(JUMP, skipped, 0, 0)]),
    }
    tree.extend(left);
    branch(above, tree);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a filter as the kernel would, on a call of this architecture without arguments.
    fn run(filter: &[sock_filter], nr: c_long) -> u32 {
        let (mut at, mut a) = (0, 0_u32);
        loop {
            let sock_filter { code, jt, jf, k } = filter[at].clone();
            at += 1;
            let jump = |yes| usize::from(if yes { jt } else { jf });
            match code {
                LOAD => {
                    a = match k {
                        0 => u32::try_from(nr).unwrap(),
                        4 if cfg!(target_arch = "x86_64") => 0xc000_003e,
                        4 => 0xc000_00b7,
                        _ => 0,
                    }
                }
                JUMP => at += k as usize,
                IF_EQUAL => at += jump(a == k),
                IF_AT_LEAST => at += jump(a >= k),
                0x25 => at += jump(a > k),
                0x54 => a &= k,
                RETURN => return k,
                other => panic!("an instruction {other:#x}"),
            }
        }
    }

    fn shape() -> Shape {
        Shape { network: Sockets::None, unix: false, execute: false, attributes: true, groups: true }
    }

    #[test]
    fn a_call_is_let_through_refused_or_absent() {
        let filter = compile(&shape()).unwrap();
        let refused = RET_ERRNO | libc::EPERM.cast_unsigned();
        let absent = RET_ERRNO | libc::ENOSYS.cast_unsigned();
        for call in PLAIN {
            assert_eq!(run(&filter, *call), RET_ALLOW, "{call}");
        }
        for call in [
            libc::SYS_io_uring_setup,
            libc::SYS_ptrace,
            libc::SYS_keyctl,
            libc::SYS_mount,
            libc::SYS_setns,
            libc::SYS_bpf,
            libc::SYS_pidfd_getfd,
            libc::SYS_process_vm_readv,
            libc::SYS_chroot,
            libc::SYS_execve,
            libc::SYS_socket,
        ] {
            assert_eq!(run(&filter, call), refused, "{call}");
        }
        for call in [libc::SYS_clone3, NEWEST + 1, 0x4000_0000 + 1] {
            assert_eq!(run(&filter, call), absent, "{call}");
        }
        let more = Shape { execute: true, attributes: false, groups: false, ..shape() };
        let filter = compile(&more).unwrap();
        assert_eq!(run(&filter, libc::SYS_execve), RET_ALLOW);
        assert_eq!(run(&filter, libc::SYS_fchmod), refused);
        assert_eq!(run(&filter, libc::SYS_setgroups), RET_ERRNO);
    }

    #[test]
    fn a_filter_is_short() {
        let every =
            Shape { network: Sockets::All, unix: true, execute: true, attributes: true, groups: true };
        assert!(compile(&every).unwrap().len() < 700);
    }
}
