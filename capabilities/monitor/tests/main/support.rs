//! A world with a display, and pictures read back.

use llm_os_core::{Decision, Setup};
use llm_os_desktop_test_support::{Area, TestDisplay};
use llm_os_monitor::Monitor;
use llm_os_test_support::World;
use serde_json::{Value, json};

/// The monitor capability on a display.
pub(crate) fn world(display: &TestDisplay) -> World {
    configured(display, json!({}))
}

/// The same with a configuration.
pub(crate) fn configured(display: &TestDisplay, config: Value) -> World {
    let setup = Setup { display: Some(display.display()), ..Setup::default() };
    let (world, unavailable) = World::set_up::<Monitor>(config, setup);
    assert_eq!(unavailable, None);
    world
}

/// Lets the policy hide the windows of these classes.
pub(crate) fn hide(world: &World, classes: &'static [&'static str]) {
    world.judge(move |query| {
        let resource = &query.effect.resource;
        let hidden = resource.kind == llm_os_core::Kind::Window && classes.contains(&resource.id.as_str());
        if hidden { Decision::Deny } else { Decision::Allow }
    });
}

/// The output of an action that must succeed.
#[track_caller]
pub(crate) fn output(world: &World, action: &str, params: Value) -> Value {
    let answer = world.send(action, params);
    assert_eq!(answer["results"][0]["status"], "ok", "{answer:#}");
    let output = answer["results"][0]["output"].clone();
    world.matches_schema(action, &output);
    output
}

/// A picture as red, green and blue.
pub(crate) struct Decoded {
    pub(crate) width: u32,
    pub(crate) height: u32,
    rgb: Vec<u8>,
}

impl Decoded {
    pub(crate) fn at(&self, x: u32, y: u32) -> [u8; 3] {
        let at = (y as usize * self.width as usize + x as usize) * 3;
        [self.rgb[at], self.rgb[at + 1], self.rgb[at + 2]]
    }

    /// Every pixel with its place.
    pub(crate) fn pixels(&self) -> impl Iterator<Item = (u32, u32, [u8; 3])> {
        (0..self.height).flat_map(move |y| (0..self.width).map(move |x| (x, y, self.at(x, y))))
    }
}

/// The bytes of a picture in an answer, held against what the answer says of them.
#[track_caller]
pub(crate) fn bytes(picture: &Value) -> Vec<u8> {
    use base64::Engine as _;
    use sha2::Digest as _;
    let data = picture["data"].as_str().expect("base64");
    let bytes = base64::engine::general_purpose::STANDARD.decode(data).expect("base64");
    assert_eq!(picture["bytes"], bytes.len());
    assert_eq!(picture["sha256"], llm_os_core::value::hex(&sha2::Sha256::digest(&bytes)));
    bytes
}

/// A picture of an answer, decoded by what its media type says.
#[track_caller]
pub(crate) fn decoded(picture: &Value) -> Decoded {
    decode(&bytes(picture), picture["media_type"].as_str().expect("a media type"))
}

#[track_caller]
pub(crate) fn decode(bytes: &[u8], media_type: &str) -> Decoded {
    let reader = std::io::Cursor::new(bytes);
    match media_type {
        "image/png" => {
            let mut reader = png::Decoder::new(reader).read_info().expect("a PNG");
            let mut rgb = vec![0; reader.output_buffer_size().expect("a size")];
            let info = reader.next_frame(&mut rgb).expect("a PNG");
            assert_eq!((info.color_type, info.bit_depth), (png::ColorType::Rgb, png::BitDepth::Eight));
            Decoded { width: info.width, height: info.height, rgb }
        }
        "image/jpeg" => of(image::codecs::jpeg::JpegDecoder::new(reader).expect("a JPEG")),
        "image/webp" => of(image::codecs::webp::WebPDecoder::new(reader).expect("a WebP")),
        other => panic!("{other}"),
    }
}

fn of(decoder: impl image::ImageDecoder) -> Decoded {
    let (width, height) = decoder.dimensions();
    assert_eq!(decoder.color_type(), image::ColorType::Rgb8);
    let mut rgb = vec![0; usize::try_from(decoder.total_bytes()).expect("a size")];
    decoder.read_image(&mut rgb).expect("a picture");
    Decoded { width, height, rgb }
}

/// A rectangle of the screen.
pub(crate) fn area(x: i32, y: i32, width: u32, height: u32) -> Area {
    Area { x, y, width, height }
}

/// The same as params.
pub(crate) fn region(area: Area) -> Value {
    json!({"x": area.x, "y": area.y, "width": area.width, "height": area.height})
}

/// A colour for each pixel that tells where it is.
pub(crate) fn gradient(x: u32, y: u32) -> [u8; 3] {
    [(x % 256) as u8, (y % 256) as u8, ((x / 256) * 16 + y / 256) as u8]
}
