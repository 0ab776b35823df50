//! A picture as an agent hands it on.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

pub(crate) struct Picture {
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// The colours of its pixels, line by line.
    pixels: Vec<[u8; 3]>,
}

impl Picture {
    /// Reads a PNG in base64.
    pub(crate) fn read(data: &str) -> Self {
        let bytes = STANDARD.decode(data).unwrap();
        let mut decoder = png::Decoder::new(std::io::Cursor::new(bytes));
        decoder.set_transformations(png::Transformations::normalize_to_color8());
        let mut reader = decoder.read_info().unwrap();
        let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut bytes).unwrap();
        let pixels =
            bytes.chunks_exact(info.color_type.samples()).map(|pixel| [pixel[0], pixel[1], pixel[2]]);
        Self { width: info.width, height: info.height, pixels: pixels.collect() }
    }

    /// The middle of what has this colour, if enough of it is there to click at.
    pub(crate) fn find(&self, colour: [u8; 3]) -> Option<(u32, u32)> {
        let found = (0..).zip(&self.pixels).filter(|(_, pixel)| **pixel == colour);
        let found: Vec<_> =
            found.map(|(index, _): (u32, _)| (index % self.width, index / self.width)).collect();
        let middle = found.get(found.len() / 2)?;
        (found.len() > 1000).then_some(*middle)
    }
}
