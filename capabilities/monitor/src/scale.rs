//! Which size a picture gets, and scaling it in bands.
//!
//! A picture is scaled band by band: the result is that of scaling at once, without a second picture in memory.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use llm_os_core::{Code, Fault};
use llm_os_desktop::geometry::Rect;

/// The longest edge of a picture, in pixels.
pub(crate) const MAX_EDGE: u32 = 8192;

/// The most pixels of a picture: an 8K screen.
const MAX_PIXELS: u64 = 7680 * 4320;

/// Rows of the result that are made at once. The filter looks at two rows beyond a band, of whichever of the two pictures
/// has fewer: at much less than a quarter of a band, which is what `scale` promises to whoever writes over the picture.
const BAND: u32 = 32;

/// The size that a caller wishes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Size {
    /// The longer edge at most.
    pub(crate) max_edge: Option<u32>,
    /// Exactly.
    pub(crate) width: Option<u32>,
    /// Exactly.
    pub(crate) height: Option<u32>,
}

impl Size {
    /// The size of a picture of a region. Only an exact size is ever larger than the region.
    ///
    /// # Errors
    ///
    /// `validation_failed` where it is too large.
    pub(crate) fn of(&self, region: &Rect) -> Result<(u32, u32), Fault> {
        let (whole, high) = (region.width, region.height);
        let size = match (self.max_edge, self.width, self.height) {
            (Some(edge), _, _) if whole.max(high) > edge => {
                if whole >= high {
                    (edge, scaled(high, edge, whole))
                } else {
                    (scaled(whole, edge, high), edge)
                }
            }
            (_, Some(width), Some(height)) => (width, height),
            (_, Some(width), None) => (width, scaled(high, width, whole)),
            (_, None, Some(height)) => (scaled(whole, height, high), height),
            (Some(_), None, None) | (None, None, None) => (whole, high),
        };
        let (width, height) = size;
        let is_exact = self.width.is_some() || self.height.is_some();
        if is_exact && (width.max(height) > MAX_EDGE || u64::from(width) * u64::from(height) > MAX_PIXELS) {
            let field = if self.width.is_some() { "width" } else { "height" };
            let message = format!("a picture of {width}x{height} is too large: at most {MAX_PIXELS} pixels");
            return Err(Fault::invalid(field, message));
        }
        Ok(size)
    }
}

/// `length * to / from`, rounded, at least 1.
fn scaled(length: u32, to: u32, from: u32) -> u32 {
    let (length, to, from) = (u64::from(length), u64::from(to), u64::from(from));
    u32::try_from((2 * length * to + from) / (2 * from)).unwrap_or(u32::MAX).max(1)
}

/// Scales a picture of four bytes for each pixel. `take` gets the picture itself, the number of a row of the result, and
/// that row with those after it, band by band from the top. Where the picture is not made larger `take` may write three
/// bytes for each pixel of the result so far over the picture, from its start: that part is not read again.
///
/// # Errors
///
/// `capability_fault` where the sizes do not belong together.
pub(crate) fn scale<P: AsRef<[u8]>>(
    mut pixels: P,
    from: (u32, u32),
    to: (u32, u32),
    mut take: impl FnMut(&mut P, u32, &[u8]) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let failed = |e: &dyn std::fmt::Display| {
        Fault::new(Code::CAPABILITY_FAULT, "the picture could not be scaled").log(e.to_string())
    };
    let ratio = f64::from(from.1) / f64::from(to.1);
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom))
        // The fourth byte means nothing.
        .use_alpha(false);
    let mut resizer = Resizer::new();
    let mut band = Vec::new();
    for first in (0..to.1).step_by(BAND as usize) {
        let last = (first + BAND).min(to.1);
        let (top, bottom) = (f64::from(first) * ratio, (f64::from(last) * ratio).min(f64::from(from.1)));
        band.resize((last - first) as usize * to.0 as usize * 4, 0);
        let source =
            ImageRef::new(from.0, from.1, pixels.as_ref(), PixelType::U8x4).map_err(|e| failed(&e))?;
        let mut target =
            Image::from_slice_u8(to.0, last - first, &mut band, PixelType::U8x4).map_err(|e| failed(&e))?;
        // The filter still looks at what is beside the part.
        let options = options.crop(0.0, top, f64::from(from.0), bottom - top);
        resizer.resize(&source, &mut target, &options).map_err(|e| failed(&e))?;
        take(&mut pixels, first, &band)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn region(width: u32, height: u32) -> Rect {
        Rect { x: 0, y: 0, width, height }
    }

    #[test]
    fn a_picture_keeps_its_shape_and_is_made_larger_only_where_exactly_that_is_asked() {
        let size = |max_edge, width, height, of: &Rect| Size { max_edge, width, height }.of(of).unwrap();
        let screen = region(1920, 1080);
        assert_eq!(size(None, None, None, &screen), (1920, 1080));
        assert_eq!(size(Some(960), None, None, &screen), (960, 540));
        assert_eq!(size(Some(8192), None, None, &screen), (1920, 1080));
        assert_eq!(size(Some(100), None, None, &region(1080, 1920)), (56, 100));
        assert_eq!(size(None, Some(640), None, &screen), (640, 360));
        assert_eq!(size(None, None, Some(2160), &screen), (3840, 2160));
        assert_eq!(size(None, Some(10), Some(7), &screen), (10, 7));
        assert_eq!(size(Some(1), None, None, &screen), (1, 1));
    }

    // D08
    #[test]
    fn a_picture_that_would_be_too_large_is_refused() {
        let wish = Size { max_edge: None, width: Some(8192), height: Some(8192) };
        assert_eq!(wish.of(&region(10, 10)).unwrap_err().code.as_str(), "validation_failed");
        let wish = Size { max_edge: None, width: Some(8192), height: None };
        assert_eq!(wish.of(&region(1, 1000)).unwrap_err().path.as_deref(), Some("width"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn bands_make_the_same_picture_as_scaling_at_once(
            from in (1u32..160, 1u32..300), to in (1u32..160, 1u32..300), seed in any::<u32>(),
        ) {
            let mut state = u64::from(seed) | 1;
            let mut noise = || { state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99); (state >> 40) as u8 };
            let pixels: Vec<u8> = (0..from.0 * from.1 * 4).map(|_| noise()).collect();
            let mut whole = Image::new(to.0, to.1, PixelType::U8x4);
            let source = ImageRef::new(from.0, from.1, &pixels, PixelType::U8x4).unwrap();
            let options = ResizeOptions::new()
                .resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom))
                .use_alpha(false);
            Resizer::new().resize(&source, &mut whole, &options).unwrap();
            let mut banded = Vec::new();
            scale(&pixels, from, to, |_, row, band| {
                assert_eq!(banded.len(), (row * to.0 * 4) as usize);
                banded.extend_from_slice(band);
                Ok(())
            }).unwrap();
            prop_assert_eq!(banded.len(), whole.buffer().len());
            // Two passes, each rounded.
            let far = banded.iter().zip(whole.buffer()).map(|(a, b)| a.abs_diff(*b)).max();
            prop_assert!(far <= Some(2), "{far:?}");
        }

        #[test]
        fn what_is_written_over_is_not_read_again(
            from in (1u32..200, 1u32..300), part in (1u32..=100, 1u32..=100),
        ) {
            let to = ((from.0 * part.0 / 100).max(1), (from.1 * part.1 / 100).max(1));
            let pixels: Vec<u8> = (0..from.0 * from.1 * 4).map(|at| (at * 7 % 251) as u8).collect();
            let mut expected = Vec::new();
            scale(pixels.clone(), from, to, |_, _, band| { expected.extend_from_slice(band); Ok(()) }).unwrap();
            let mut found = Vec::new();
            scale(pixels.clone(), from, to, |pixels, row, band| {
                let (start, length) = ((row * to.0 * 3) as usize, band.len() / 4 * 3);
                pixels[start..start + length].fill(0xaa);
                found.extend_from_slice(band);
                Ok(())
            }).unwrap();
            prop_assert!(found == expected);
        }
    }
}
