//! Which types of file systems hold files: a list of those that do, since what `/proc`, `/sys` and their like hold are
//! handles to the kernel, and new ones of that sort appear.

use std::os::fd::AsFd;

use llm_os_core::Fault;

use crate::fault::{read_failed, shown};
use crate::kernel::magic_of;

/// Magic numbers of linux/magic.h and statfs(2).
const WITH_FILES: &[u64] = &[
    0xEF53,      // ext2, ext3, ext4
    0x5846_5342, // xfs
    0x9123_683E, // btrfs
    0x0102_1994, // tmpfs
    0x8584_58F6, // ramfs
    0x794C_7630, // overlayfs
    0xF2F5_2010, // f2fs
    0x2FC1_2FC1, // zfs
    0xCA45_1A4E, // bcachefs
    0x3153_464A, // jfs
    0x5265_4973, // reiserfs
    0x7371_7368, // squashfs
    0xE0F5_E1E2, // erofs
    0x9660,      // iso9660
    0x1501_3346, // udf
    0x4D44,      // vfat
    0x2011_BAB0, // exfat
    0x7366_746E, // ntfs3
    0xF15F,      // ecryptfs
    0x6969,      // nfs
    0xFE53_4D42, // smb2
    0xFF53_4D42, // cifs
    0x0102_1997, // 9p
    0x6573_5546, // fuse and virtiofs
    0x00C3_6400, // ceph
];

/// Refuses a directory on a file system that is not known to hold files.
///
/// Asked once for each root: no lookup leaves the root's mount, and a mount has one file system.
pub(crate) fn check(fd: impl AsFd, path: &[u8]) -> Result<(), Fault> {
    let magic = magic_of(fd).map_err(|e| read_failed("look at", path, e))?;
    if WITH_FILES.contains(&magic) {
        return Ok(());
    }
    let message =
        format!("\"{}\" is on a file system that does not hold files (type {magic:#x})", shown(path));
    Err(Fault::denied(message))
}
