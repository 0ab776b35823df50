//! Known pixels on the screen.

use x11rb::connection::Connection as _;
use x11rb::protocol::xproto::{ConnectionExt as _, CreateGCAux, CreateWindowAux, ImageFormat, WindowClass};
use x11rb::rust_connection::RustConnection;
use x11rb::wrapper::ConnectionExt as _;

use crate::{Area, TestDisplay};

/// A window that shows known pixels, above all others, without a window manager's frame; gone on drop.
pub struct Picture {
    /// Its X id.
    pub id: u32,
    /// Where it is.
    pub rect: Area,
    pixels: Vec<u8>,
    _conn: RustConnection,
}

impl Picture {
    /// The pixel at a place of the screen inside of it, red first.
    ///
    /// # Panics
    ///
    /// Where it is outside.
    pub fn pixel(&self, x: i32, y: i32) -> [u8; 3] {
        let (x, y) = (
            u32::try_from(x - self.rect.x).expect("inside"),
            u32::try_from(y - self.rect.y).expect("inside"),
        );
        assert!(x < self.rect.width && y < self.rect.height, "inside");
        let at = usize::try_from((y * self.rect.width + x) * 4).expect("an index");
        [self.pixels[at + 2], self.pixels[at + 1], self.pixels[at]]
    }
}

impl TestDisplay {
    /// Shows a picture at a place; `pixel` gives the colour (red first) at x, y of the picture. What it shows is the
    /// background of a window, which the server itself paints: once this returns it is on the screen.
    pub fn picture(&self, rect: Area, pixel: impl Fn(u32, u32) -> [u8; 3]) -> Picture {
        let conn = self.connect();
        let root = self.root();
        let of = |value: u32| u16::try_from(value).expect("at most 65,535 pixels");
        let at = |value: i32| i16::try_from(value).expect("a place on the screen");
        let pixels: Vec<u8> = (0..rect.height)
            .flat_map(|y| (0..rect.width).map(move |x| (x, y)))
            .flat_map(|(x, y)| {
                let [red, green, blue] = pixel(x, y);
                [blue, green, red, 0]
            })
            .collect();
        let [id, pixmap, gc] = [(); 3].map(|()| conn.generate_id().expect("an id"));
        conn.create_pixmap(24, pixmap, root, of(rect.width), of(rect.height)).expect("a server");
        conn.create_gc(gc, pixmap, &CreateGCAux::new()).expect("a server");
        let row = rect.width as usize * 4;
        for (y, rows) in pixels.chunks(row * 16).enumerate() {
            let (height, y) = (of((rows.len() / row) as u32), at((y * 16) as i32));
            conn.put_image(ImageFormat::Z_PIXMAP, pixmap, gc, of(rect.width), height, 0, y, 0, 24, rows)
                .expect("a server");
        }
        let aux = CreateWindowAux::new().override_redirect(1).background_pixmap(pixmap);
        conn.create_window(
            24,
            id,
            root,
            at(rect.x),
            at(rect.y),
            of(rect.width),
            of(rect.height),
            0,
            WindowClass::INPUT_OUTPUT,
            x11rb::COPY_FROM_PARENT,
            &aux,
        )
        .expect("a server");
        conn.map_window(id).expect("a server");
        conn.sync().expect("a server");
        Picture { id, rect, pixels, _conn: conn }
    }
}
