//! Memory that this process and the X server share (MIT-SHM 1.2), so that a picture need not go through a socket.

use std::os::fd::OwnedFd;
use std::ptr::NonNull;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use x11rb::connection::Connection as _;
use x11rb::protocol::shm::{self, ConnectionExt as _};
use x11rb::rust_connection::RustConnection;

use crate::Trouble;

/// Memory that the server can write a picture to. The server knows it until its connection ends.
pub(crate) struct Segment {
    pub(super) id: shm::Seg,
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the mapping belongs to this value alone, and any thread of the process may use it.
unsafe impl Send for Segment {}
// SAFETY: a shared segment only gives out shared slices.
unsafe impl Sync for Segment {}

impl Segment {
    /// `None` where the server cannot take it: it is on another machine, has no such extension, or does not want it.
    ///
    /// # Errors
    ///
    /// A lost connection.
    pub(super) fn new(conn: &RustConnection, length: usize) -> Result<Option<Self>, Trouble> {
        let Ok((fd, start)) = map(length) else { return Ok(None) };
        let segment = Self { id: conn.generate_id()?, start, length };
        let attached = conn.shm_attach_fd(segment.id, fd, false)?.check();
        match attached {
            Ok(()) => Ok(Some(segment)),
            Err(x11rb::errors::ReplyError::X11Error(_)) => Ok(None),
            Err(lost) => Err(lost.into()),
        }
    }

    pub(super) fn length(&self) -> usize {
        self.length
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        // SAFETY: `start` and `length` are of a mapping that lives as long as `self`, initialised by the kernel with
        // zeros, which its seals keep from shrinking. Its only other writer is the server, which writes when
        // `Session::shoot` asks it to and has answered before anybody gets to see the segment.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as above; `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and no slice of it is left.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.length) };
    }
}

/// Memory with a descriptor to share it by. It can neither shrink nor grow, so using it never faults.
fn map(length: usize) -> rustix::io::Result<(OwnedFd, NonNull<u8>)> {
    let fd = memfd_create("llm-os-picture", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    ftruncate(&fd, length as u64)?;
    fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    // SAFETY: a new mapping at an address of the kernel's choice touches no memory that is in use.
    let start = unsafe {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        mmap(std::ptr::null_mut(), length, protection, MapFlags::SHARED, &fd, 0)?
    };
    let start = NonNull::new(start.cast()).ok_or(rustix::io::Errno::NOMEM)?;
    Ok((fd, start))
}
