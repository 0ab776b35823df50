//! The fixed set of system folders that every program may read and run from, and the little beside it that programs
//! expect on any machine.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Programs and their libraries. What is not there is left out; a link stays one.
pub(super) const FOLDERS: &[&str] =
    &["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/gnu/store"];

/// What programs and libraries read of `/etc` and its like: how to find libraries, time zones, fonts, certificates. No
/// file in which somebody keeps a secret, or which names users.
const FILES: &[&str] = &[
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/ca-certificates.conf",
    "/etc/crypto-policies",
    "/etc/fonts",
    "/etc/gtk-3.0",
    "/etc/java-17-openjdk",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/locale.alias",
    "/etc/localtime",
    "/etc/magic",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/etc/os-release",
    "/etc/pki",
    "/etc/protocols",
    "/etc/services",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/terminfo",
    "/etc/timezone",
    "/etc/X11",
    "/sys/devices/system/cpu",
    "/var/cache/fontconfig",
];

/// How names are resolved, for programs with a network.
const NETWORK: &[&str] = &["/etc/gai.conf", "/etc/host.conf", "/etc/hosts", "/etc/resolv.conf"];

/// Devices that hold nothing, and the terminal that a program has of its own, if any.
pub(super) const DEVICES: &[&str] =
    &["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"];

/// Whether a program's real path lies in the system folders, so that every program may run it.
pub(crate) fn holds(real: &[u8]) -> bool {
    let real = Path::new(OsStr::from_bytes(real));
    FOLDERS.iter().any(|folder| real.starts_with(folder))
}

/// The files for a program with or without a network.
pub(super) fn files(network: bool) -> impl Iterator<Item = &'static &'static str> {
    FILES.iter().chain(if network { NETWORK } else { &[] })
}

/// Files that name the program's own user and group and nobody else, in the place of the machine's (passwd(5), group(5)).
pub(super) fn users() -> [(&'static str, Vec<u8>); 2] {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let name = |file: &str, id: u32| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let named = text.lines().find_map(|line| {
            let mut fields = line.split(':');
            let (name, _, found) = (fields.next()?, fields.next()?, fields.next()?);
            (found == id.to_string()).then(|| name.to_owned())
        });
        named.unwrap_or_else(|| "user".to_owned())
    };
    let (user, group) = (name("/etc/passwd", uid), name("/etc/group", gid));
    [
        ("/etc/passwd", format!("{user}:x:{uid}:{gid}::/nonexistent:/bin/false\n").into_bytes()),
        ("/etc/group", format!("{group}:x:{gid}:\n").into_bytes()),
    ]
}
