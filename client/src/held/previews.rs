//! What an action would make of a file, and where its clicks go: shown beside the plan, digested with nothing.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::held::page::{Look, Page};

/// A preview of the host.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Preview {
    Text { name: String, text: Text },
    Picture { name: String, sha256: String, point: Option<(u32, u32)> },
    Missing { name: String, missing: String },
}

#[derive(Debug, Deserialize)]
pub(super) struct Text {
    text: String,
    encoding: String,
    bytes: u64,
    truncated: bool,
}

/// A picture that the host has, and the point of it that an action is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pictured {
    /// Of which action, from 0.
    pub(crate) action: usize,
    pub(crate) sha256: String,
    pub(crate) point: Option<(u32, u32)>,
}

impl Preview {
    pub(super) fn show(&self, action: usize, page: &mut Page) {
        match self {
            Preview::Text { name, text } => {
                let Text { text: told, encoding, bytes, truncated } = text;
                let raw = match encoding.as_str() {
                    "base64" => STANDARD.decode(told).unwrap_or_default(),
                    _ => told.clone().into_bytes(),
                };
                page.line(2, Look::Text, &format!("{name} of what it would change ({bytes} bytes)"));
                let mut rows: Vec<_> = raw.split(|b| *b == b'\n').collect();
                rows.pop_if(|last| last.is_empty());
                for row in rows {
                    let look = match row.first() {
                        Some(b'+') => Look::Added,
                        Some(b'-') => Look::Removed,
                        _ => Look::Same,
                    };
                    page.line(4, look, &String::from_utf8_lossy(row));
                }
                if *truncated {
                    let why = format!("ATTENTION: the {name} is cut; the whole of it has {bytes} bytes");
                    page.line(2, Look::Attention, &why);
                }
            }
            Preview::Picture { name, sha256, point } => {
                let place = point.map_or(String::new(), |(x, y)| format!(", the point is {x},{y}"));
                page.line(2, Look::Text, &format!("{name} that was seen last{place}, SHA-256 {sha256}"));
                page.picture(Pictured { action, sha256: sha256.clone(), point: *point });
            }
            Preview::Missing { name, missing } => {
                page.line(2, Look::Text, &format!("no {name}: {missing}"));
            }
        }
    }
}
