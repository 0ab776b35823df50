//! The output of an action as what a model is shown: text, and the pictures that were in it.

use serde_json::value::RawValue;

use crate::envelope::Fields;

/// A picture, in base64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Picture {
    pub(crate) media_type: String,
    pub(crate) data: String,
}

impl Picture {
    /// The media types that both APIs take.
    const KNOWN: [&str; 4] = ["image/png", "image/jpeg", "image/webp", "image/gif"];

    /// The picture that an object is, if it is one.
    pub(crate) fn of(fields: &Fields) -> Option<Self> {
        let (media_type, data) = (fields.text("media_type")?, fields.text("data")?);
        Self::KNOWN.contains(&media_type.as_str()).then_some(Self { media_type, data })
    }

    /// As a `data:` URL.
    pub(crate) fn url(&self) -> String {
        format!("data:{};base64,{}", self.media_type, self.data)
    }
}

/// Takes the pictures out of an output. The text keeps every other byte, and says `"shown"` in the place of each.
pub(crate) fn parts(output: &str) -> (String, Vec<Picture>) {
    let mut pictures = Vec::new();
    let text = value(output, &mut pictures);
    (text, pictures)
}

fn value(text: &str, pictures: &mut Vec<Picture>) -> String {
    match text.as_bytes().first() {
        Some(b'{') => object(text, pictures),
        Some(b'[') => match serde_json::from_str::<Vec<Box<RawValue>>>(text) {
            Ok(items) => {
                let items = items.iter().map(|item| value(item.get(), pictures)).collect::<Vec<_>>();
                format!("[{}]", items.join(","))
            }
            Err(_) => text.to_owned(),
        },
        _ => text.to_owned(),
    }
}

fn object(text: &str, pictures: &mut Vec<Picture>) -> String {
    let Ok(mut fields) = Fields::read(text.as_bytes()) else { return text.to_owned() };
    if let Some(picture) = Picture::of(&fields) {
        pictures.push(picture);
        fields.replace("data", "data", "shown");
    } else {
        let Ok(()) = fields.map(|text| Ok::<_, std::convert::Infallible>(value(text, pictures)));
    }
    fields.write()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_taken_out_and_every_other_byte_stays() {
        let output = r#"{"z":1.50,"picture":{"media_type":"image/png","encoding":"base64","data":"aGk=","bytes":2},"more":[{"media_type":"image/jpeg","data":"aG8="},{"media_type":"text/plain","data":"x"}]}"#;
        let (text, pictures) = parts(output);
        let expected = output.replace("aGk=", "shown").replace("aG8=", "shown");
        assert_eq!(text, expected);
        let picture = |media_type: &str, data: &str| Picture {
            media_type: media_type.to_owned(),
            data: data.to_owned(),
        };
        assert_eq!(pictures, [picture("image/png", "aGk="), picture("image/jpeg", "aG8=")]);
        assert_eq!(pictures[0].url(), "data:image/png;base64,aGk=");
    }
}
