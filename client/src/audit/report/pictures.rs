//! Pictures: each stands once at the end of the page, small enough to be looked at, and is referred to.

use std::collections::HashMap;
use std::io::Cursor;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fast_image_resize::images::Image;
use fast_image_resize::{PixelType, Resizer};
use image::{ImageFormat, ImageReader, Limits};
use jpeg_encoder::{ColorType, Encoder};
use llm_os_core::value::hex;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::audit::report::html::Html;
use crate::audit::report::store::Store;
use crate::exit::Failure;

/// The longest edge on the page, in pixels.
const EDGE: u32 = 1280;
/// The longest edge of what is decoded.
const MOST: u32 = 16_384;
/// The most memory for decoding one.
const MEMORY: u64 = 256 << 20;
/// A picture of no more bytes goes as it is.
const SMALL: usize = 128 << 10;
const QUALITY: u8 = 80;

/// The pictures that the page refers to, in order.
#[derive(Debug, Default)]
pub(super) struct Pictures {
    known: HashMap<String, usize>,
    sources: Vec<Source>,
}

#[derive(Debug)]
struct Source {
    /// The evidence that holds it: itself, or an output.
    sha256: String,
    /// Its own digest.
    own: String,
    size: (u32, u32),
}

impl Pictures {
    /// Shows a picture that lies in the evidence `sha256`, with a cross at `point`.
    pub(super) fn show(&mut self, html: &mut Html, sha256: &str, bytes: &[u8], point: Option<[u64; 2]>) {
        let own = hex(&Sha256::digest(bytes));
        let number = match self.known.get(&own) {
            Some(number) => *number,
            None => {
                let Some(size) = size(bytes) else {
                    html.raw("<p class=bad>This is no picture that can be shown.</p>");
                    return;
                };
                self.sources.push(Source { sha256: sha256.to_owned(), own: own.clone(), size });
                self.known.insert(own, self.sources.len() - 1);
                self.sources.len() - 1
            }
        };
        let (width, height) = self.sources[number].size;
        html.raw("<svg class=pic role=img viewBox=\"0 0 ")
            .number(width.into())
            .raw(" ")
            .number(height.into());
        html.raw("\"><title>").raw(if point.is_some() {
            "Picture with the point of the click"
        } else {
            "Picture"
        });
        html.raw("</title><use href=\"#p").number(number as u64).raw("\"/>");
        if let Some([x, y]) = point {
            let arm = u64::from(width.max(height) / 40).max(8);
            for (colour, thick) in [("#fff", 6), ("#e00", 3)] {
                html.raw("<path fill=none stroke=\"").raw(colour).raw("\" stroke-width=").number(thick);
                html.raw(" d=\"M")
                    .number(x.saturating_sub(arm))
                    .raw(" ")
                    .number(y)
                    .raw("H")
                    .number(x.saturating_add(arm));
                html.raw("M")
                    .number(x)
                    .raw(" ")
                    .number(y.saturating_sub(arm))
                    .raw("V")
                    .number(y.saturating_add(arm));
                html.raw("\"/>");
            }
        }
        html.raw("</svg>");
    }

    /// Gives what was referred to, piece by piece, made on all cores.
    ///
    /// # Errors
    ///
    /// What `write` says.
    pub(super) fn finish(
        &self,
        store: &Store,
        mut write: impl FnMut(&Html) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        for (batch, sources) in self.sources.chunks(cores * 4).enumerate() {
            let mut made: Vec<(usize, Html)> = std::thread::scope(|scope| {
                let work = (0..cores).map(|core| {
                    scope.spawn(move || {
                        let mine = sources.iter().enumerate().skip(core).step_by(cores);
                        mine.map(|(n, source)| (n, source.define(batch * cores * 4 + n, store)))
                            .collect::<Vec<_>>()
                    })
                });
                let work: Vec<_> = work.collect();
                work.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
            });
            made.sort_by_key(|(n, _)| *n);
            made.iter().try_for_each(|(_, html)| write(html))?;
        }
        Ok(())
    }
}

impl Source {
    fn define(&self, number: usize, store: &Store) -> Html {
        let mut html = Html::default();
        let (width, height) = self.size;
        match self.bytes(store).and_then(|bytes| reduced(bytes, self.size)) {
            Some((media_type, bytes)) => {
                html.raw("<image id=p").number(number as u64).raw(" width=").number(width.into());
                html.raw(" height=")
                    .number(height.into())
                    .raw(" href=\"")
                    .data(media_type, &bytes)
                    .raw("\"/>\n");
            }
            None => {
                html.raw("<g id=p").number(number as u64).raw("><text x=20 y=60 font-size=40 fill=\"#e00\">");
                html.raw("damaged: it cannot be decoded</text></g>\n");
            }
        }
        html
    }

    fn bytes(&self, store: &Store) -> Option<Vec<u8>> {
        let bytes = store.read(&self.sha256).ok()?;
        if self.sha256 == self.own {
            return Some(bytes);
        }
        let mut output = serde_json::from_slice(&bytes).ok()?;
        taken(&mut output).into_iter().find(|bytes| hex(&Sha256::digest(bytes)) == self.own)
    }
}

/// Takes the pictures out of an output.
pub(super) fn taken(output: &mut Value) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    match output {
        Value::Object(fields) => {
            let picture =
                fields.get("media_type").and_then(Value::as_str).is_some_and(|m| m.starts_with("image/"));
            let data = fields.get("data").and_then(Value::as_str).filter(|_| picture);
            if let Some(bytes) = data.and_then(|data| STANDARD.decode(data).ok()) {
                fields.insert("data".to_owned(), Value::from("(the picture below)"));
                found.push(bytes);
            } else {
                found.extend(fields.values_mut().flat_map(taken));
            }
        }
        Value::Array(items) => found.extend(items.iter_mut().flat_map(taken)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    found
}

fn reader(bytes: &[u8]) -> Option<ImageReader<Cursor<&[u8]>>> {
    let mut limits = Limits::default();
    (limits.max_image_width, limits.max_image_height) = (Some(MOST), Some(MOST));
    limits.max_alloc = Some(MEMORY);
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().ok()?;
    reader.limits(limits);
    reader.format().is_some().then_some(reader)
}

/// What its header says.
fn size(bytes: &[u8]) -> Option<(u32, u32)> {
    let (width, height) = reader(bytes)?.into_dimensions().ok()?;
    ((1..=MOST).contains(&width) && (1..=MOST).contains(&height)).then_some((width, height))
}

fn reduced(bytes: Vec<u8>, (width, height): (u32, u32)) -> Option<(&'static str, Vec<u8>)> {
    let reader = reader(&bytes)?;
    let own = match reader.format()? {
        ImageFormat::Png => Some("image/png"),
        ImageFormat::Jpeg => Some("image/jpeg"),
        _ => None,
    };
    let fits = width.max(height) <= EDGE;
    if let Some(own) = own.filter(|_| fits && bytes.len() <= SMALL) {
        return Some((own, bytes));
    }
    let mut pixels = reader.decode().ok()?.into_rgb8();
    if !fits {
        let edge = f64::from(EDGE) / f64::from(width.max(height));
        let [to_width, to_height] = [width, height].map(|length| ((f64::from(length) * edge) as u32).max(1));
        let from = Image::from_vec_u8(width, height, pixels.into_raw(), PixelType::U8x3).ok()?;
        let mut to = Image::new(to_width, to_height, PixelType::U8x3);
        Resizer::new().resize(&from, &mut to, None).ok()?;
        pixels = image::RgbImage::from_raw(to_width, to_height, to.into_vec())?;
    }
    let [of_width, of_height] = [pixels.width(), pixels.height()].map(u16::try_from);
    let mut jpeg = Vec::new();
    let encoder = Encoder::new(&mut jpeg, QUALITY);
    encoder.encode(&pixels, of_width.ok()?, of_height.ok()?, ColorType::Rgb).ok()?;
    match own {
        Some(own) if fits && bytes.len() <= jpeg.len() => Some((own, bytes)),
        Some(_) | None => Some(("image/jpeg", jpeg)),
    }
}
