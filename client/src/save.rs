//! Keeping the binary data of an answer, such as a picture, in files.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;

use crate::envelope::Fields;
use crate::exit::Failure;

/// Writes each binary value of an answer to `DIR/REQUEST-N.EXTENSION`, N from 1, and gives the answer with `file` in the
/// place of `data`.
pub(crate) fn save(line: &str, dir: &Path) -> Result<String, Failure> {
    let unread = |e: serde_json::Error| Failure::NoAnswer(format!("the answer has another shape: {e}"));
    let answer = Fields::read(line.as_bytes()).map_err(unread)?;
    let request = answer.text("request_id").unwrap_or_else(|| "answer".to_owned());
    let mut files = Files { dir, request: &request, saved: 0 };
    files.value(line)
}

struct Files<'a> {
    dir: &'a Path,
    request: &'a str,
    saved: usize,
}

impl Files<'_> {
    /// A JSON text with what is in it saved; everything else stays byte for byte.
    fn value(&mut self, text: &str) -> Result<String, Failure> {
        match text.as_bytes().first() {
            Some(b'{') => self.object(text),
            Some(b'[') => {
                let Ok(items) = serde_json::from_str::<Vec<Box<RawValue>>>(text) else {
                    return Ok(text.to_owned());
                };
                let items = items.iter().map(|item| self.value(item.get())).collect::<Result<Vec<_>, _>>()?;
                Ok(format!("[{}]", items.join(",")))
            }
            _ => Ok(text.to_owned()),
        }
    }

    fn object(&mut self, text: &str) -> Result<String, Failure> {
        let Ok(mut fields) = Fields::read(text.as_bytes()) else { return Ok(text.to_owned()) };
        if let (Some(media_type), Some(data)) = (fields.text("media_type"), fields.text("data"))
            && let Ok(bytes) = STANDARD.decode(data)
        {
            let path = self.write(&media_type, &bytes)?;
            fields.replace("data", "file", &path.display().to_string());
        } else {
            fields.map(|value| self.value(value))?;
        }
        Ok(fields.write())
    }

    fn write(&mut self, media_type: &str, bytes: &[u8]) -> Result<PathBuf, Failure> {
        let extension = match media_type {
            "image/png" => "png",
            "image/jpeg" => "jpg",
            "image/webp" => "webp",
            _ => "bin",
        };
        self.saved += 1;
        let path = self.dir.join(format!("{}-{}.{extension}", self.request, self.saved));
        let written = fs::create_dir_all(self.dir).and_then(|()| fs::write(&path, bytes));
        written.map_err(|source| Failure::Save { path: path.clone(), source })?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_become_files_and_every_other_byte_stays() {
        let dir = tempfile::tempdir().unwrap();
        let line = r#"{"request_id":"r.1","z":1.50,"results":[{"output":{"picture":{"media_type":"image/png","encoding":"base64","data":"aGk=","bytes":2}}},{"output":[{"media_type":"x","data":"aG8="}]}]}"#;
        let saved = save(line, dir.path()).unwrap();
        let file = |name: &str| dir.path().join(name);
        let expected = line
            .replace(r#""data":"aGk=""#, &format!(r#""file":"{}""#, file("r.1-1.png").display()))
            .replace(r#""data":"aG8=""#, &format!(r#""file":"{}""#, file("r.1-2.bin").display()));
        assert_eq!(saved, expected);
        assert_eq!(fs::read(file("r.1-1.png")).unwrap(), b"hi");
        assert_eq!(fs::read(file("r.1-2.bin")).unwrap(), b"ho");
    }

    #[test]
    fn what_is_no_base64_is_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let line = r#"{"results":[{"output":{"media_type":"x","data":"!"}}]}"#;
        assert_eq!(save(line, dir.path()).unwrap(), line);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_directory_that_cannot_be_written_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let line = r#"{"media_type":"image/png","data":"aGk="}"#;
        let error = save(line, file.path()).unwrap_err().to_string();
        assert!(error.contains("answer-1.png"), "{error}");
    }
}
