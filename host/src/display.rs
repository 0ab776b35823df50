//! Which display plans may drive: none, one that exists, or one of the host's own.
//!
//! The host knows no more of displays than their names: how they are driven is the capabilities' business.

mod files;
mod server;

use std::path::PathBuf;
use std::str::FromStr;

use llm_os_core::Display;
use llm_os_core::error::excerpt;
use serde::Deserialize;

pub(crate) use server::VirtualDisplay;

/// `[display]` of the configuration.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct DisplayConfig {
    /// A display of the host's own, of this size.
    #[serde(rename = "virtual")]
    pub(crate) own: Option<Size>,
    /// A display that exists.
    pub(crate) name: Option<Name>,
    /// Keys by which the human before the display halts the host.
    pub(crate) halt_chord: Option<String>,
}

/// Why there is no display. Each message ends with the next step.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DisplayError {
    #[error(
        "the virtual display needs {program}, which no absolute directory of PATH holds; on Debian: apt-get install {package}"
    )]
    Missing { program: &'static str, package: &'static str },
    #[error("the virtual display's {program} {why}")]
    Program { program: &'static str, why: String },
    #[error("the virtual display's {path} cannot be written: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error(
        "display.name is env, but neither DISPLAY nor WAYLAND_DISPLAY is set; name a display, or use --virtual-display 1280x800"
    )]
    NotInEnvironment,
    #[error("the environment's display: {0}")]
    Environment(String),
}

/// Width and height of a display in pixels, each from [`Size::LEAST`] to [`Size::MOST`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Size {
    pub(crate) width: u16,
    pub(crate) height: u16,
}

impl Size {
    pub(crate) const LEAST: u16 = 64;
    /// 1 GiB of pixels in a square; X counts coordinates in 16 bits with a sign.
    pub(crate) const MOST: u16 = 16_384;
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| {
            let digits = text.bytes().all(|b| b.is_ascii_digit());
            text.parse().ok().filter(|n| digits && (Self::LEAST..=Self::MOST).contains(n))
        };
        let parts = text.split_once('x').and_then(|(width, height)| number(width).zip(number(height)));
        parts.map(|(width, height)| Self { width, height }).ok_or_else(|| {
            let (text, least, most) = (excerpt(text), Self::LEAST, Self::MOST);
            format!("found \"{text}\", expected WIDTHxHEIGHT in pixels, each {least} to {most}: 1280x800")
        })
    }
}

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// The name of a display on this machine: an X display (`:0`, X(7)), a Wayland socket (`wayland-0`, or its absolute
/// path), or `env`. A display elsewhere is refused: the processes behind its windows could not be looked at here.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Name(String);

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number =
            |text: &str| !text.is_empty() && text.len() < 6 && text.bytes().all(|b| b.is_ascii_digit());
        let is_x = text.strip_prefix(':').is_some_and(|rest| match rest.split_once('.') {
            Some((display, screen)) => number(display) && number(screen),
            None => number(rest),
        });
        let plain = text.bytes().all(|b| b.is_ascii_graphic());
        let is_wayland =
            plain && (text.starts_with('/') || (text.starts_with("wayland") && !text.contains('/')));
        if is_x || is_wayland || text == "env" {
            return Ok(Self(text.to_owned()));
        }
        let next = "expected a display of this machine: :0, wayland-0, an absolute path, or env; for one of the host's own there is --virtual-display 1280x800";
        Err(format!("found \"{}\", {next}", excerpt(text)))
    }
}

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl Name {
    /// The display of this name; for `env` the one that `variable` names.
    ///
    /// # Errors
    ///
    /// `env` where nothing, or no display of this machine, is named.
    pub(crate) fn display(&self, variable: impl Fn(&str) -> Option<String>) -> Result<Display, DisplayError> {
        let name = if self.0 == "env" {
            let set = |name| variable(name).filter(|value| !value.is_empty());
            let named =
                set("DISPLAY").or_else(|| set("WAYLAND_DISPLAY")).ok_or(DisplayError::NotInEnvironment)?;
            named.parse::<Self>().ok().filter(|name| name.0 != "env").map(|name| name.0).ok_or_else(|| {
                DisplayError::Environment(format!("found \"{}\", expected one such as :0", excerpt(&named)))
            })?
        } else {
            self.0.clone()
        };
        Ok(Display { id: name.clone(), name, authority: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_two_numbers_within_bounds() {
        assert_eq!("1280x800".parse(), Ok(Size { width: 1280, height: 800 }));
        assert_eq!("64x16384".parse(), Ok(Size { width: 64, height: 16_384 }));
        let wrong = [
            "",
            "1280",
            "x",
            "63x800",
            "800x16385",
            "65616x800",
            "1280X800",
            "+99x800",
            " 99x800",
            "99x800x24",
        ];
        for text in wrong {
            let why = text.parse::<Size>().unwrap_err();
            assert!(why.contains(text) && why.contains("64 to 16384"), "{why}");
        }
    }

    #[test]
    fn a_name_is_a_display_of_this_machine() {
        for text in [":0", ":10.1", "wayland-1", "/run/user/1000/wayland-0", "env"] {
            assert!(text.parse::<Name>().is_ok(), "{text}");
        }
        for text in [
            "",
            ":",
            "0",
            ":x",
            ":0.",
            "far:0",
            "localhost:10.0",
            "virtual",
            "wayland/../x",
            ":0 ",
            ":123456",
        ] {
            let why = text.parse::<Name>().unwrap_err();
            assert!(why.contains("--virtual-display 1280x800"), "{why}");
        }
    }

    #[test]
    fn the_environments_display_is_the_x_one_before_the_wayland_one() {
        let env: Name = "env".parse().unwrap();
        let of = |set: &[(&str, &str)]| {
            let set: Vec<_> =
                set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            env.display(|name| set.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()))
        };
        assert_eq!(of(&[("DISPLAY", ":3"), ("WAYLAND_DISPLAY", "wayland-0")]).unwrap().id, ":3");
        assert_eq!(of(&[("DISPLAY", ""), ("WAYLAND_DISPLAY", "wayland-0")]).unwrap().name, "wayland-0");
        assert!(matches!(of(&[]), Err(DisplayError::NotInEnvironment)));
        for elsewhere in ["far:0", "env", "virtual"] {
            assert!(
                matches!(of(&[("DISPLAY", elsewhere)]), Err(DisplayError::Environment(_))),
                "{elsewhere}"
            );
        }
    }
}
