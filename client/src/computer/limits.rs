//! How large a picture an API takes.

/// The limits of one API for one picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// The longer edge at most.
    long: u32,
    /// The shorter edge at most.
    short: u32,
    /// How many squares of `patch` pixels may be begun.
    patches: u32,
    patch: u32,
    /// How many characters the picture may be in base64.
    length: usize,
}

/// What Anthropic's API takes of one picture, in base64.
const ANTHROPIC_LENGTH: usize = 5 << 20;

impl Limits {
    /// Models before Claude Opus 4.7. The API scales a larger picture down itself, and the coordinates are then wrong.
    pub(crate) const ANTHROPIC: Self =
        Self { long: 1568, short: 1568, patches: 1568, patch: 28, length: ANTHROPIC_LENGTH };
    /// Models that know `computer_toolset_20260801`. The API refuses a larger picture. The edge is what it takes in a request
    /// with more than 20 pictures, which a conversation soon has; in a shorter one it would take 2576.
    pub(crate) const TOOLSET: Self =
        Self { long: 2000, short: 2000, patches: 4784, patch: 28, length: ANTHROPIC_LENGTH };
    /// `detail: "original"`.
    pub(crate) const OPENAI: Self =
        Self { long: 6000, short: 6000, patches: 10_000, patch: 32, length: usize::MAX };
    /// `computer-use-preview`, which sees a picture in tiles after scaling it to these edges.
    pub(crate) const PREVIEW: Self =
        Self { long: 2048, short: 768, patches: u32::MAX, patch: 32, length: usize::MAX };

    /// The same with a shorter longest edge.
    pub(crate) fn within(self, edge: Option<u32>) -> Self {
        let edge = edge.unwrap_or(u32::MAX);
        Self { long: self.long.min(edge), short: self.short.min(edge), ..self }
    }

    /// How many characters the picture may be in base64.
    pub(crate) fn length(self) -> usize {
        self.length
    }

    /// The largest size of the same shape that is within the limits, and not larger than it is.
    pub(crate) fn fit(&self, width: u32, height: u32) -> (u32, u32) {
        if self.allows(width, height) {
            return (width, height);
        }
        let longer = width.max(height);
        let sized = |edge: u32| match width >= height {
            true => (edge, scaled(height, edge, width)),
            false => (scaled(width, edge, height), edge),
        };
        // The first edge that is too long; 1 never is.
        let (mut fits, mut beyond) = (1, longer);
        while beyond - fits > 1 {
            let edge = fits.midpoint(beyond);
            let (width, height) = sized(edge);
            if self.allows(width, height) {
                fits = edge;
            } else {
                beyond = edge;
            }
        }
        sized(fits)
    }

    fn allows(&self, width: u32, height: u32) -> bool {
        let begun = |edge: u32| u64::from(edge.div_ceil(self.patch));
        width.max(height) <= self.long
            && width.min(height) <= self.short
            && begun(width) * begun(height) <= u64::from(self.patches)
    }
}

/// `length * to / from`, rounded, at least 1.
fn scaled(length: u32, to: u32, from: u32) -> u32 {
    let (length, to, from) = (u64::from(length), u64::from(to), u64::from(from));
    u32::try_from((2 * length * to + from) / (2 * from)).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(limits: Limits, size: (u32, u32), expected: (u32, u32)) {
        assert_eq!(limits.fit(size.0, size.1), expected, "{limits:?} {size:?}");
    }

    #[test]
    fn a_picture_within_the_limits_keeps_its_size() {
        check(Limits::ANTHROPIC, (1280, 800), (1280, 800));
        check(Limits::TOOLSET, (1920, 1080), (1920, 1080));
        check(Limits::OPENAI, (2560, 1600), (2560, 1600));
        check(Limits::PREVIEW, (1024, 768), (1024, 768));
    }

    #[test]
    fn a_larger_one_is_the_largest_that_fits() {
        // What the documentation of the API gives for this size.
        check(Limits::ANTHROPIC, (1920, 1080), (1456, 819));
        check(Limits::ANTHROPIC, (1080, 1920), (819, 1456));
        check(Limits::TOOLSET, (2560, 1600), (2000, 1250));
        check(Limits::OPENAI, (7680, 4320), (4256, 2394));
        check(Limits::PREVIEW, (2560, 1600), (1229, 768));
        check(Limits::ANTHROPIC, (100_000, 1), (1568, 1));
    }

    #[test]
    fn an_edge_may_be_asked_to_be_shorter_and_never_longer() {
        check(Limits::OPENAI.within(Some(1440)), (2560, 1600), (1440, 900));
        check(Limits::TOOLSET.within(Some(9000)), (2560, 1600), (2000, 1250));
        check(Limits::TOOLSET.within(None), (2560, 1600), (2000, 1250));
    }
}
