//! The picture that a click goes to, in half blocks, with a cross at the point.

use std::fs::File;
use std::io::{Cursor, Write};
use std::path::Path;

use image::imageops::{FilterType, crop_imm, resize};
use image::{ImageFormat, ImageReader, Limits, Rgb, RgbImage};
use llm_os_core::value::hex;
use sha2::{Digest, Sha256};

use crate::held::Pictured;

/// Two pixels, one above the other.
pub(crate) type Cell = [[u8; 3]; 2];

/// The colour of the cross, which no other pixel gets.
pub(crate) const CROSS: [u8; 3] = [255, 0, 0];
/// The most memory that a picture is unpacked into, in bytes.
const MOST_MEMORY: u64 = 512 << 20;
/// The longest edge that is unpacked, in pixels.
const LONGEST: u32 = 32_768;

/// A picture that is what the host's digest says.
#[derive(Debug)]
pub(crate) struct Picture {
    pixels: RgbImage,
    point: Option<(u32, u32)>,
}

impl Picture {
    /// Unpacks a PNG.
    ///
    /// # Errors
    ///
    /// Why it is not shown: it is not the one that was announced, or not a picture.
    pub(crate) fn read(png: &[u8], announced: &Pictured) -> Result<Self, String> {
        if hex(&Sha256::digest(png)) != announced.sha256 {
            return Err("its SHA-256 is another than the host announced".to_owned());
        }
        let mut reader = ImageReader::with_format(Cursor::new(png), ImageFormat::Png);
        let mut limits = Limits::default();
        limits.max_alloc = Some(MOST_MEMORY);
        (limits.max_image_width, limits.max_image_height) = (Some(LONGEST), Some(LONGEST));
        reader.limits(limits);
        let pixels =
            reader.decode().map_err(|e| format!("it is not a PNG that can be read: {e}"))?.into_rgb8();
        if announced.point.is_some_and(|(x, y)| x >= pixels.width() || y >= pixels.height()) {
            return Err("the point is not in it".to_owned());
        }
        Ok(Self { pixels, point: announced.point })
    }

    /// The picture in at most `columns` by `rows` cells: the whole of it, or the surroundings of the point in full size.
    pub(crate) fn cells(&self, columns: usize, rows: usize, in_full_size: bool) -> Vec<Vec<Cell>> {
        let (width, height) = self.pixels.dimensions();
        let room = (count(columns).max(1), count(rows * 2).max(2));
        let (mut shown, point) = if in_full_size {
            let (x, y) = self.point.unwrap_or((width / 2, height / 2));
            let (wide, high) = (room.0.min(width), room.1.min(height));
            let left = x.saturating_sub(wide / 2).min(width - wide);
            let top = y.saturating_sub(high / 2).min(height - high);
            let part = crop_imm(&self.pixels, left, top, wide, high).to_image();
            (part, self.point.map(|(x, y)| (x - left, y - top)))
        } else {
            let scale = |length: u32, by: u32, of: u32| scaled(length, by, of).max(1);
            let wide = room.0.min(scale(room.1, width, height)).min(width);
            let high = scale(wide, height, width).min(room.1);
            let point = self.point.map(|(x, y)| (scaled(x, wide, width), scaled(y, high, height)));
            (resize(&self.pixels, wide, high, FilterType::Triangle), point)
        };
        for pixel in shown.pixels_mut() {
            if pixel.0 == CROSS {
                pixel.0 = [254, 0, 0];
            }
        }
        if let Some(point) = point {
            cross(&mut shown, point, 1, 3);
        }
        let black = Rgb([0; 3]);
        let cell = |x, y| {
            let lower = shown.get_pixel_checked(x, y + 1).unwrap_or(&black);
            [shown.get_pixel(x, y).0, lower.0]
        };
        let lines = (0..shown.height()).step_by(2);
        lines.map(|y| (0..shown.width()).map(|x| cell(x, y)).collect()).collect()
    }

    /// Writes it with its cross to a file that is not there yet.
    pub(crate) fn save(&self, path: &Path) -> Result<(), String> {
        let mut marked = self.pixels.clone();
        if let Some(point) = self.point {
            cross(&mut marked, point, 3, 24);
        }
        let mut png = Vec::new();
        marked.write_to(&mut Cursor::new(&mut png), ImageFormat::Png).map_err(|e| e.to_string())?;
        let file = File::create_new(path).and_then(|mut file| file.write_all(&png));
        file.map_err(|e| format!("{}: {e}", path.display()))
    }
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

fn scaled(length: u32, by: u32, of: u32) -> u32 {
    u32::try_from(u64::from(length) * u64::from(by) / u64::from(of.max(1))).unwrap_or(u32::MAX)
}

/// Four arms that leave the point itself free.
fn cross(pixels: &mut RgbImage, (x, y): (u32, u32), thick: u32, arm: u32) {
    let (x, y, thick, arm) = (i64::from(x), i64::from(y), i64::from(thick), i64::from(arm));
    for along in -arm..=arm {
        for across in -(thick / 2)..=thick / 2 {
            if along.abs() <= thick / 2 {
                continue;
            }
            for (px, py) in [(x + along, y + across), (x + across, y + along)] {
                if let (Ok(px), Ok(py)) = (u32::try_from(px), u32::try_from(py))
                    && let Some(pixel) = pixels.get_pixel_mut_checked(px, py)
                {
                    pixel.0 = CROSS;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png(width: u32, height: u32) -> Vec<u8> {
        let pixels =
            RgbImage::from_fn(width, height, |x, y| Rgb([u8::from(x < width / 2) * 200, 0, u8::from(y < 2)]));
        let mut png = Vec::new();
        pixels.write_to(&mut Cursor::new(&mut png), ImageFormat::Png).unwrap();
        png
    }

    fn announced(png: &[u8], point: (u32, u32)) -> Pictured {
        Pictured { action: 0, sha256: hex(&Sha256::digest(png)), point: Some(point) }
    }

    #[test]
    fn the_cross_is_around_the_point_of_the_whole_picture_and_of_its_surroundings() {
        let png = png(400, 200);
        let picture = Picture::read(&png, &announced(&png, (300, 100))).unwrap();
        let crossed = |cells: &[Vec<Cell>]| {
            let mut found = Vec::new();
            for (y, row) in cells.iter().enumerate() {
                for (x, cell) in row.iter().enumerate() {
                    found.extend((0..2).filter(|half| cell[*half] == CROSS).map(|half| (x, y * 2 + half)));
                }
            }
            let count = found.len();
            (
                found.iter().map(|p| p.0).sum::<usize>() / count,
                found.iter().map(|p| p.1).sum::<usize>() / count,
            )
        };
        let whole = picture.cells(80, 40, false);
        assert_eq!((whole[0].len(), whole.len()), (80, 20));
        assert_eq!(crossed(&whole), (60, 20));
        let part = picture.cells(80, 20, true);
        assert_eq!((part[0].len(), part.len(), crossed(&part)), (80, 20, (40, 20)));
        assert!(whole[3][3][0][0] > 190 && whole[3][70][0][0] < 10, "left is red, right is not");
    }

    #[test]
    fn a_picture_that_is_another_than_announced_is_not_shown() {
        let png = png(8, 8);
        assert!(Picture::read(&png, &announced(b"other", (1, 1))).is_err());
        assert!(Picture::read(&png, &announced(&png, (8, 1))).is_err());
        assert!(Picture::read(b"no picture", &announced(b"no picture", (1, 1))).is_err());
    }

    #[test]
    fn a_saved_picture_has_the_cross_and_replaces_no_file() {
        let png = png(100, 60);
        let picture = Picture::read(&png, &announced(&png, (50, 30))).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.png");
        picture.save(&path).unwrap();
        let saved = image::open(&path).unwrap().into_rgb8();
        assert_eq!((saved.get_pixel(60, 30).0, saved.dimensions()), (CROSS, (100, 60)));
        assert!(picture.save(&path).unwrap_err().contains("p.png"));
    }
}
