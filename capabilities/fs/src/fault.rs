//! The codes of this capability and the words of its faults.

use llm_os_core::error::excerpt;
use llm_os_core::path::spell;
use llm_os_core::{Code, Fault};
use rustix::io::Errno;

/// What the action names does not exist.
pub(crate) const NOT_FOUND: Code = Code::own("not_found");
/// What the action would create exists.
pub(crate) const ALREADY_EXISTS: Code = Code::own("already_exists");
/// The operating system did not let the action look.
pub(crate) const READ_FAILED: Code = Code::own("read_failed");
/// The operating system did not let the action change something; what was there is still there.
pub(crate) const WRITE_FAILED: Code = Code::own("write_failed");
/// The text to replace does not stand in the file as often as was expected.
pub(crate) const EDIT_FAILED: Code = Code::own("edit_failed");
/// Somebody else changed what was judged before the action reached it.
pub(crate) const TARGET_CHANGED: Code = Code::own("target_changed");
/// What a run left is not there any more as it left it, so it is not undone.
pub(crate) const UNDO_CONFLICT: Code = Code::own("undo_conflict");
/// What the change replaces does not fit into the quota of undo, so it is not made.
pub(crate) const UNDO_QUOTA_EXCEEDED: Code = Code::own("undo_quota_exceeded");
/// What the change replaces cannot be kept, so it is not made.
pub(crate) const UNDO_UNAVAILABLE: Code = Code::own("undo_unavailable");

/// A path as a message shows it: escaped and cut.
pub(crate) fn shown(path: &[u8]) -> String {
    excerpt(&spell(path))
}

/// What the operating system refused, for an action that looks.
pub(crate) fn read_failed(doing: &str, path: &[u8], e: Errno) -> Fault {
    refused(READ_FAILED, doing, path, e)
}

/// What the operating system refused, for an action that changes something.
pub(crate) fn write_failed(doing: &str, path: &[u8], e: Errno) -> Fault {
    refused(WRITE_FAILED, doing, path, e)
}

fn refused(code: Code, doing: &str, path: &[u8], e: Errno) -> Fault {
    let code = match e {
        Errno::NOENT => NOT_FOUND,
        Errno::EXIST => ALREADY_EXISTS,
        _ => code,
    };
    let hint = match e {
        Errno::ACCESS | Errno::PERM => ": the user that the host runs as lacks the permission",
        Errno::NOSPC | Errno::DQUOT => ": free some space first",
        Errno::NOTEMPTY => ": give recursive to remove what is in it",
        Errno::INVAL | Errno::NOSYS => ": this file system cannot do it atomically",
        _ => "",
    };
    Fault::new(code, format!("cannot {doing} \"{}\": {e}{hint}", shown(path)))
}

/// The path does not exist.
pub(crate) fn not_found(path: &[u8]) -> Fault {
    Fault::new(NOT_FOUND, format!("\"{}\" does not exist", shown(path)))
}

/// The path exists.
pub(crate) fn already_exists(path: &[u8], next: &str) -> Fault {
    Fault::new(ALREADY_EXISTS, format!("\"{}\" exists already: {next}", shown(path)))
}

/// Something else than what was judged is at the path now.
pub(crate) fn target_changed(path: &[u8]) -> Fault {
    let message = format!(
        "\"{}\" was changed by somebody else after it was judged, and was left alone: send the plan again",
        shown(path)
    );
    Fault::new(TARGET_CHANGED, message)
}
