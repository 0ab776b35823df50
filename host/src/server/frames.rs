//! Frames from a byte stream: LF ends one, and nothing else does.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, timeout_at};

/// What the stream gave next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// One frame, without its LF.
    Whole(Vec<u8>),
    /// More bytes than the limit without an LF.
    TooLarge,
    /// The stream ended inside a frame.
    Partial,
    /// A frame began and did not end in time.
    Late,
    /// Nothing came for the idle time.
    Idle,
    /// The stream ended between two frames.
    End,
}

/// Bounds of one stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// The most bytes before an LF.
    pub(super) bytes: usize,
    /// From a frame's first byte to its LF.
    pub(super) frame: Duration,
    /// Between two frames.
    pub(super) idle: Duration,
}

/// Reads frames and never holds more than the limit and one read.
pub(super) struct Frames<R> {
    reader: R,
    bounds: Bounds,
    held: Vec<u8>,
    /// How much of `held` is known to have no LF.
    searched: usize,
}

const READ: usize = 8 * 1024;

impl<R: AsyncRead + Unpin> Frames<R> {
    pub(super) fn new(reader: R, bounds: Bounds) -> Self {
        Self { reader, bounds, held: Vec::new(), searched: 0 }
    }

    /// The next frame.
    ///
    /// # Errors
    ///
    /// Where the stream fails.
    pub(super) async fn next(&mut self) -> io::Result<Frame> {
        let mut deadline = None;
        loop {
            let limit = self.bounds.bytes;
            if let Some(at) = self.held[self.searched..].iter().position(|b| *b == b'\n') {
                let end = self.searched + at;
                self.searched = 0;
                if end > limit {
                    return Ok(Frame::TooLarge);
                }
                let rest = self.held.split_off(end + 1);
                let mut frame = std::mem::replace(&mut self.held, rest);
                frame.truncate(end);
                return Ok(Frame::Whole(frame));
            }
            self.searched = self.held.len();
            if self.held.len() > limit {
                return Ok(Frame::TooLarge);
            }
            let (until, late) = if self.held.is_empty() {
                (Instant::now() + self.bounds.idle, Frame::Idle)
            } else {
                (*deadline.get_or_insert_with(|| Instant::now() + self.bounds.frame), Frame::Late)
            };
            self.held.reserve_exact(READ.min(limit + 1 - self.held.len()));
            match timeout_at(until, self.reader.read_buf(&mut self.held)).await {
                Err(_) => return Ok(late),
                Ok(Ok(0)) if self.held.is_empty() => return Ok(Frame::End),
                Ok(Ok(0)) => return Ok(Frame::Partial),
                Ok(Ok(_)) => {}
                Ok(Err(e)) => return Err(e),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt;

    const BOUNDS: Bounds =
        Bounds { bytes: 16, frame: Duration::from_millis(50), idle: Duration::from_secs(5) };

    async fn all(bytes: &[u8]) -> Vec<Frame> {
        let mut frames = Frames::new(bytes, BOUNDS);
        let mut seen = Vec::new();
        loop {
            let frame = frames.next().await.unwrap();
            let last = !matches!(frame, Frame::Whole(_));
            seen.push(frame);
            if last {
                return seen;
            }
        }
    }

    #[tokio::test]
    async fn only_lf_ends_a_frame() {
        let whole = |text: &str| Frame::Whole(text.as_bytes().to_vec());
        assert_eq!(all(b"a\nb\r\n\n").await, [whole("a"), whole("b\r"), whole(""), Frame::End]);
        assert_eq!(all(b"a\nrest").await, [whole("a"), Frame::Partial]);
    }

    #[tokio::test]
    async fn the_limit_is_exact() {
        let at = [b'x'; 16];
        assert_eq!(all(&[&at[..], b"\n"].concat()).await, [Frame::Whole(at.to_vec()), Frame::End]);
        assert_eq!(all(&[&at[..], b"x\n"].concat()).await, [Frame::TooLarge]);
        assert_eq!(all(&[b'x'; 100_000]).await, [Frame::TooLarge]);
    }

    #[tokio::test]
    async fn a_frame_that_stalls_is_late_and_not_run() {
        let (mut client, server) = tokio::io::duplex(64);
        client.write_all(b"{\"request").await.unwrap();
        assert_eq!(Frames::new(server, BOUNDS).next().await.unwrap(), Frame::Late);
    }

    #[tokio::test]
    async fn memory_stays_within_the_limit_and_one_read() {
        let endless = tokio::io::repeat(b'x');
        let mut frames = Frames::new(endless, Bounds { bytes: 65_536, ..BOUNDS });
        assert_eq!(frames.next().await.unwrap(), Frame::TooLarge);
        assert!(frames.held.capacity() <= 65_536 + READ, "{}", frames.held.capacity());
    }

    proptest! {
        #[test]
        fn frames_do_not_depend_on_how_bytes_arrive(bytes in prop::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..60), cut in 0usize..60) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let whole = all(&bytes).await;
                let cut = cut.min(bytes.len());
                let (first, second) = bytes.split_at(cut);
                let mut frames = Frames::new(first.chain(second), BOUNDS);
                for expected in whole {
                    prop_assert_eq!(frames.next().await.unwrap(), expected);
                }
                Ok(())
            })?;
        }
    }
}
