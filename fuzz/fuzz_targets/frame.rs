//! The reader of frames gives what a simple one gives, however the bytes arrive, and never offers more memory than its
//! limit.
//!
//! Input: the limit, eight bytes that say how the stream arrives, the stream.
#![no_main]

// The reader is the host's own business: its file is built here once more.
#[path = "../../host/src/server/frames.rs"]
mod frames;

use std::io;
use std::pin::Pin;
use std::sync::LazyLock;
use std::task::{Context, Poll};
use std::time::Duration;

use frames::{Bounds, Frame, Frames};
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::runtime::{Builder, Runtime};

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_current_thread().enable_time().build().expect("a runtime"));

fuzz_target!(|input: &[u8]| {
    let Some((&limit, rest)) = input.split_first() else { return };
    let Some((pattern, stream)) = rest.split_at_checked(8) else { return };
    let limit = usize::from(limit);
    let bounds = Bounds { bytes: limit, frame: Duration::from_secs(60), idle: Duration::from_secs(60) };
    let mut frames = Frames::new(Arriving { stream, pattern, turn: 0, slept: false, limit }, bounds);
    RUNTIME.block_on(async {
        for expected in simply_read(stream, limit) {
            assert_eq!(frames.next().await.expect("a stream that does not fail"), expected);
        }
    });
});

/// What the frames are by their definition.
fn simply_read(mut stream: &[u8], limit: usize) -> Vec<Frame> {
    let mut all = Vec::new();
    loop {
        match stream.iter().position(|byte| *byte == b'\n') {
            Some(end) if end <= limit => {
                all.push(Frame::Whole(stream[..end].to_vec()));
                stream = &stream[end + 1..];
                continue;
            }
            None if stream.is_empty() => all.push(Frame::End),
            None if stream.len() <= limit => all.push(Frame::Partial),
            Some(_) | None => all.push(Frame::TooLarge),
        }
        return all;
    }
}

/// A stream whose bytes come in pieces, some of them late.
struct Arriving<'a> {
    stream: &'a [u8],
    pattern: &'a [u8],
    turn: usize,
    slept: bool,
    limit: usize,
}

impl AsyncRead for Arriving<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        assert!(buffer.remaining() <= self.limit + 1, "{} bytes were offered", buffer.remaining());
        let step = self.pattern[self.turn % self.pattern.len()];
        if step & 0x80 != 0 && !self.slept {
            self.slept = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.slept = false;
        self.turn += 1;
        let count = (usize::from(step & 0x7f) + 1).min(self.stream.len()).min(buffer.remaining());
        let (now, later) = self.stream.split_at(count);
        buffer.put_slice(now);
        self.stream = later;
        Poll::Ready(Ok(()))
    }
}
