//! What a change makes of a file's content, as a unified diff: shown to approvers before, and kept as evidence after.
//!
//! Text is compared line by line, and only LF ends a line, so that the diff applied to what was there gives what is
//! there then, byte for byte. Of anything else, and of what is long, lengths and digests are told.

use std::fmt::Write as _;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use llm_os_core::evidence::{DIFF, DIFF_TYPE};
use llm_os_core::path::spell;
use llm_os_core::value::hex;
use llm_os_core::{Context, Fault, Preview};
use rustix::fs::OFlags;
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use similar::udiff::UnifiedHunkHeader;
use similar::{Algorithm, DiffOp, capture_diff_slices_deadline, group_diff_ops};

use crate::fault::read_failed;
use crate::kernel::{FileKind, Meta};
use crate::read::read_up_to;
use crate::roots::{Handle, Roots};

/// The longest text that is compared line by line.
const MAX_TEXT: usize = 1 << 20;
/// The longest content that is digested.
const MAX_DIGESTED: u64 = 16 << 20;
/// How much is read at once to be digested.
const CHUNK: usize = 256 << 10;
/// After this time lines are no longer matched as well as they could be.
const TIME: Duration = Duration::from_millis(200);
/// How many unchanged lines a diff shows around each change.
const CONTEXT_LINES: usize = 3;

/// What a file holds, before or after a change.
#[derive(Debug)]
pub(crate) enum Side {
    /// There is no file.
    Nothing,
    /// Short text.
    Text(String),
    /// Anything else, with its digest where it is not too long for that.
    Other { bytes: u64, sha256: Option<String> },
}

impl Side {
    pub(crate) fn of_bytes(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) if text.len() <= MAX_TEXT => Side::Text(text.to_owned()),
            _ => Side::Other { bytes: bytes.len() as u64, sha256: Some(hex(&Sha256::digest(bytes))) },
        }
    }

    /// What is in a file, whatever its offset is.
    pub(crate) fn of_file(file: &OwnedFd) -> Result<Self, Errno> {
        let length = Meta::of(file)?.bytes;
        if length <= MAX_TEXT as u64 {
            let bytes = read_up_to(file, 0, MAX_TEXT + 1, length)?;
            if bytes.len() <= MAX_TEXT {
                return Ok(Self::of_bytes(&bytes));
            }
        }
        let (mut digest, mut chunk, mut read) = (Sha256::new(), vec![0; CHUNK], 0);
        while read <= MAX_DIGESTED {
            match rustix::io::pread(file, &mut chunk, read) {
                Ok(0) => {
                    return Ok(Side::Other { bytes: read, sha256: Some(hex(&digest.finalize())) });
                }
                Ok(more) => {
                    digest.update(&chunk[..more]);
                    read += more as u64;
                }
                Err(Errno::INTR) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(Side::Other { bytes: length.max(read), sha256: None })
    }

    /// What is in a file that was judged.
    pub(crate) fn of(roots: &Roots, judged: &Handle) -> Result<Self, Fault> {
        let (file, _) = roots.reopen(judged, OFlags::RDONLY)?;
        Self::of_file(&file).map_err(|e| read_failed("read", &judged.path, e))
    }

    /// The same with more at its end.
    pub(crate) fn and(&self, more: &[u8]) -> Self {
        match self {
            Side::Nothing => Self::of_bytes(more),
            Side::Text(text) => Self::of_bytes(&[text.as_bytes(), more].concat()),
            Side::Other { bytes, .. } => Side::Other { bytes: bytes + more.len() as u64, sha256: None },
        }
    }

    pub(crate) fn is_text(&self) -> bool {
        self.lines().is_some()
    }

    fn lines(&self) -> Option<Vec<&str>> {
        match self {
            Side::Nothing => Some(Vec::new()),
            Side::Text(text) => Some(text.split_inclusive('\n').collect()),
            Side::Other { .. } => None,
        }
    }

    fn told(&self) -> String {
        let told = |bytes: u64, sha256: &str| format!("{bytes} bytes (SHA-256 {sha256})");
        match self {
            Side::Nothing => "nothing".to_owned(),
            Side::Text(text) => told(text.len() as u64, &hex(&Sha256::digest(text.as_bytes()))),
            Side::Other { bytes, sha256: Some(sha256) } => told(*bytes, sha256),
            Side::Other { bytes, sha256: None } => format!("{bytes} bytes (not digested)"),
        }
    }

    /// How the side is named in a diff of the file with this path.
    fn name(&self, path: &[u8]) -> String {
        match self {
            Side::Nothing => "/dev/null".to_owned(),
            // A name can hold line ends, and is not to look like a part of the diff.
            Side::Text(_) | Side::Other { .. } => spell(path).chars().fold(String::new(), |mut name, c| {
                if c.is_control() {
                    name.extend(c.escape_default());
                } else {
                    name.push(c);
                }
                name
            }),
        }
    }
}

/// The unified diff of one content of a file against another.
pub(crate) fn unified(path: &[u8], old: &Side, new: &Side) -> String {
    let mut out = header(path, old, new);
    match (old.lines(), new.lines()) {
        (Some(old), Some(new)) => {
            let deadline = Instant::now() + TIME;
            let ops = capture_diff_slices_deadline(Algorithm::Myers, &old, &new, Some(deadline));
            push_hunks(&mut out, &old, &new, ops);
        }
        _ => writeln!(out, "Not shown line by line: {} becomes {}", old.told(), new.told())
            .expect("writing to a string"),
    }
    out
}

/// The two lines that a diff begins with.
pub(crate) fn header(path: &[u8], old: &Side, new: &Side) -> String {
    format!("--- {}\n+++ {}\n", old.name(path), new.name(path))
}

/// Adds what differs between two texts in lines, with the lines around it.
pub(crate) fn push_hunks(out: &mut String, old: &[&str], new: &[&str], ops: Vec<DiffOp>) {
    for group in group_diff_ops(ops, CONTEXT_LINES) {
        if group.iter().all(|op| matches!(op, DiffOp::Equal { .. })) {
            continue;
        }
        writeln!(out, "{}", UnifiedHunkHeader::new(&group)).expect("writing to a string");
        for op in &group {
            let is_equal = matches!(op, DiffOp::Equal { .. });
            let sign = if is_equal { ' ' } else { '-' };
            op.old_range().for_each(|index| push_line(out, sign, old[index]));
            if !is_equal {
                op.new_range().for_each(|index| push_line(out, '+', new[index]));
            }
        }
    }
}

fn push_line(out: &mut String, sign: char, line: &str) {
    out.push(sign);
    out.push_str(line);
    if !line.ends_with('\n') {
        out.push_str("\n\\ No newline at end of file\n");
    }
}

/// A preview of what is to be shown, if there is anything.
pub(crate) fn previewed(diff: Result<Option<String>, Fault>) -> Vec<Preview> {
    match diff {
        Ok(diff) => diff.map(Preview::Diff).into_iter().collect(),
        Err(fault) => vec![Preview::NoDiff(fault.message.into_owned())],
    }
}

/// What a file holds that is about to be replaced or removed, open, so that exactly that can be told once it is gone. Only
/// where evidence is kept; what goes wrong here is told in the record, and keeps nothing from happening.
pub(crate) struct Before<'a> {
    cx: &'a Context,
    old: Old,
}

enum Old {
    Nothing,
    File(OwnedFd),
    /// Not a regular file.
    Unread,
    Failed(String),
}

impl<'a> Before<'a> {
    /// Opens what is at a name.
    pub(crate) fn open(cx: &'a Context, roots: &Roots, occupant: Option<&Handle>) -> Option<Self> {
        let open = |judged: &Handle| match judged.meta.kind {
            FileKind::Regular => match roots.reopen(judged, OFlags::RDONLY) {
                Ok((file, _)) => Old::File(file),
                Err(fault) => Old::Failed(fault.message.into_owned()),
            },
            FileKind::Directory | FileKind::Symlink | FileKind::Special(_) => Old::Unread,
        };
        cx.keeps_evidence().then(|| Self { cx, old: occupant.map_or(Old::Nothing, open) })
    }

    /// Keeps the diff to what there is now.
    pub(crate) fn keep(self, path: &[u8], new: Result<Side, String>) {
        let old = match self.old {
            Old::Nothing => Ok(Side::Nothing),
            Old::File(file) => Side::of_file(&file).map_err(|e| read_failed("read", path, e).message.into()),
            Old::Unread => return,
            Old::Failed(why) => Err(why),
        };
        keep(self.cx, path, old.and_then(|old| Ok((old, new?))));
    }
}

/// Keeps a diff as evidence, or says why there is none.
pub(crate) fn keep(cx: &Context, path: &[u8], sides: Result<(Side, Side), String>) {
    match sides {
        Ok((old, new)) => cx.keep(DIFF, DIFF_TYPE, unified(path, &old, &new).as_bytes()),
        Err(why) => cx.lacks_evidence(why),
    }
}

/// One more descriptor of a file, for after the first is closed.
pub(crate) fn again(file: impl AsFd) -> Result<OwnedFd, Errno> {
    rustix::io::fcntl_dupfd_cloexec(file, 3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use llm_os_test_support::patched;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_diff_applied_to_the_old_content_gives_the_new_one(
            old in "([ab\r]{0,3}\n){0,12}[ab\r]{0,2}", new in "([ab\r]{0,3}\n){0,12}[ab\r]{0,2}",
        ) {
            let diff = unified(b"/t", &Side::of_bytes(old.as_bytes()), &Side::of_bytes(new.as_bytes()));
            prop_assert_eq!(patched(&old, &diff), new, "{}", diff);
        }
    }

    #[test]
    fn what_is_no_text_or_long_is_told_by_length_and_digest() {
        let binary = Side::of_bytes(b"\xff");
        let long = Side::of_bytes(&vec![b'a'; MAX_TEXT + 1]);
        let diff = unified(b"/t", &binary, &long);
        let lines: Vec<_> = diff.lines().collect();
        assert_eq!(lines[..2], ["--- /t", "+++ /t"]);
        assert!(lines[2].contains("1 bytes (SHA-256 a8100ae6aa1940d0"), "{diff}");
        assert!(lines[2].contains(&format!("{} bytes (SHA-256 ", MAX_TEXT + 1)), "{diff}");
        assert_eq!(lines.len(), 3);
    }

    #[test]
    fn a_name_cannot_look_like_a_part_of_the_diff() {
        let diff = unified(b"/t\n@@ -1 +1 @@\n+x", &Side::Nothing, &Side::of_bytes(b"y\n"));
        assert_eq!(diff, "--- /dev/null\n+++ /t\\n@@ -1 +1 @@\\n+x\n@@ -0,0 +1 @@\n+y\n");
    }
}
