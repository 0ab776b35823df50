//! Pictures as PNG, JPEG and WebP.
//!
//! PNG takes rows as they come from the screen; nothing of the size of the picture is copied. The other two need all
//! pixels as red, green and blue: these are packed into the picture's own memory.

use std::io::Write;

use image::codecs::jpeg::JpegEncoder;
use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType, ImageEncoder as _};
use llm_os_core::{Code, Fault};

use crate::action::Format;
use crate::scale::scale;

/// How good a JPEG is where nothing is said.
const QUALITY: u8 = 85;

/// Bytes of compressed data in one chunk of a PNG.
const CHUNK: usize = 64 << 10;

impl Format {
    /// The media type (RFC 6838).
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Format::Png => "image/png",
            Format::Jpeg => "image/jpeg",
            Format::Webp => "image/webp",
        }
    }

    /// What the name of a file ends with.
    pub(crate) fn extension(self) -> &'static str {
        match self {
            Format::Png => "png",
            Format::Jpeg => "jpg",
            Format::Webp => "webp",
        }
    }
}

/// How a picture is to be stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Encoding {
    pub(crate) size: (u32, u32),
    pub(crate) format: Format,
    pub(crate) quality: Option<u8>,
}

impl Encoding {
    /// Encodes pixels of four bytes (blue, green, red, and one that means nothing), `from.0` in a row. What `pixels`
    /// holds afterwards means nothing.
    ///
    /// # Errors
    ///
    /// `capability_fault` where an encoder fails.
    pub(crate) fn encode(&self, pixels: &mut [u8], from: (u32, u32)) -> Result<Vec<u8>, Fault> {
        match self.format {
            Format::Png => self.png(pixels, from),
            Format::Jpeg => self.packed(pixels, from, |rgb, (width, height)| {
                let mut bytes = Vec::new();
                let quality = self.quality.unwrap_or(QUALITY);
                let encoder = JpegEncoder::new_with_quality(&mut bytes, quality);
                encoder.write_image(rgb, width, height, ExtendedColorType::Rgb8).map_err(|e| failed(&e))?;
                Ok(bytes)
            }),
            Format::Webp => self.packed(pixels, from, |rgb, (width, height)| {
                let mut bytes = Vec::new();
                let encoder = WebPEncoder::new_lossless(&mut bytes);
                encoder.write_image(rgb, width, height, ExtendedColorType::Rgb8).map_err(|e| failed(&e))?;
                Ok(bytes)
            }),
        }
    }

    /// The same as PNG, which leaves the pixels as they are.
    ///
    /// # Errors
    ///
    /// As [`Encoding::encode`].
    pub(crate) fn png(&self, pixels: &[u8], from: (u32, u32)) -> Result<Vec<u8>, Fault> {
        let (width, height) = self.size;
        let mut bytes = Vec::with_capacity(CHUNK);
        let mut encoder = png::Encoder::new(&mut bytes, width, height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_compression(png::Compression::Fastest);
        let mut header = encoder.write_header().map_err(|e| failed(&e))?;
        let mut data = header.stream_writer_with_size(CHUNK).map_err(|e| failed(&e))?;
        let mut packed = vec![0; width as usize * 3];
        let mut rows = |rows: &[u8]| {
            for row in rows.chunks_exact(width as usize * 4) {
                pack(row, &mut packed);
                data.write_all(&packed).map_err(|e| failed(&e))?;
            }
            Ok(())
        };
        if from == self.size {
            rows(pixels)?;
        } else {
            scale(pixels, from, self.size, |_, _, band| rows(band))?;
        }
        data.finish().map_err(|e| failed(&e))?;
        header.finish().map_err(|e| failed(&e))?;
        Ok(bytes)
    }

    fn packed(
        &self,
        pixels: &mut [u8],
        from: (u32, u32),
        encode: impl FnOnce(&[u8], (u32, u32)) -> Result<Vec<u8>, Fault>,
    ) -> Result<Vec<u8>, Fault> {
        let (width, height) = self.size;
        let length = width as usize * height as usize * 3;
        if from == self.size {
            pack_in_place(pixels);
            return encode(&pixels[..length], self.size);
        }
        let start = |row: u32| row as usize * width as usize * 3;
        if width <= from.0 && height <= from.1 {
            scale(&mut *pixels, from, self.size, |pixels, row, band| {
                pack(band, &mut pixels[start(row)..]);
                Ok(())
            })?;
            return encode(&pixels[..length], self.size);
        }
        let mut rgb = vec![0; length];
        scale(pixels, from, self.size, |_, row, band| {
            pack(band, &mut rgb[start(row)..]);
            Ok(())
        })?;
        encode(&rgb, self.size)
    }
}

/// Blue, green, red and a fourth byte to red, green and blue.
fn pack(pixels: &[u8], packed: &mut [u8]) {
    let (fours, rest) = pixels.as_chunks::<16>();
    let (twelves, last) = packed.split_at_mut(fours.len() * 12);
    for (four, twelve) in fours.iter().zip(twelves.as_chunks_mut::<12>().0) {
        *twelve = pack_four(four);
    }
    for (pixel, packed) in rest.chunks_exact(4).zip(last.chunks_exact_mut(3)) {
        packed.copy_from_slice(&[pixel[2], pixel[1], pixel[0]]);
    }
}

/// Four pixels as three words.
fn pack_four(four: &[u8; 16]) -> [u8; 12] {
    let pixel = |at: usize| {
        let bytes = [four[at + 2], four[at + 1], four[at], 0];
        u32::from_le_bytes(bytes)
    };
    let [a, b, c, d] = [pixel(0), pixel(4), pixel(8), pixel(12)];
    let mut packed = [0; 12];
    packed[..4].copy_from_slice(&(a | b << 24).to_le_bytes());
    packed[4..8].copy_from_slice(&(b >> 8 | c << 16).to_le_bytes());
    packed[8..].copy_from_slice(&(c >> 16 | d << 8).to_le_bytes());
    packed
}

/// The same within one memory: what is written is always at or before what is read next.
fn pack_in_place(pixels: &mut [u8]) {
    for index in 0..pixels.len() / 4 {
        let [blue, green, red] = [pixels[index * 4], pixels[index * 4 + 1], pixels[index * 4 + 2]];
        pixels[index * 3..index * 3 + 3].copy_from_slice(&[red, green, blue]);
    }
}

fn failed(e: &dyn std::fmt::Display) -> Fault {
    Fault::new(Code::CAPABILITY_FAULT, "the picture could not be encoded").log(e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn packing_keeps_the_colours_and_drops_the_fourth_byte(pixels in proptest::collection::vec(any::<[u8; 4]>(), 0..70)) {
            let mut bytes = pixels.as_flattened().to_vec();
            let expected: Vec<u8> = pixels.iter().flat_map(|[blue, green, red, _]| [*red, *green, *blue]).collect();
            let mut packed = vec![0; pixels.len() * 3];
            pack(&bytes, &mut packed);
            prop_assert_eq!(&packed, &expected);
            pack_in_place(&mut bytes);
            prop_assert_eq!(&bytes[..expected.len()], &expected[..]);
        }
    }
}
