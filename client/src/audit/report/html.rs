//! The one way into the page: markup is a constant of this program, and everything else is escaped.

use std::fmt::Write as _;

use crate::screen::is_hidden;

/// A piece of the page.
#[derive(Debug, Default)]
pub(super) struct Html(String);

impl Html {
    /// Markup of this program.
    pub(super) fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Text that anybody wrote, in one line. What hides, or changes what others look like, is spelled `\u{...}` in a mark
    /// that text cannot imitate; so this goes between tags, and never into one.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                '\t' => self.0.push('\t'),
                hidden if is_hidden(hidden) => {
                    let code = u32::from(hidden);
                    write!(self.0, "<i class=h>\\u{{{code:x}}}</i>").expect("writing to a string");
                }
                plain => self.0.push(plain),
            }
        }
        self
    }

    /// Text that anybody wrote, with its lines.
    pub(super) fn lines(&mut self, text: &str) -> &mut Self {
        for (n, line) in text.split('\n').enumerate() {
            if n > 0 {
                self.0.push('\n');
            }
            self.text(line);
        }
        self
    }

    /// A number, also in a tag.
    pub(super) fn number(&mut self, number: u64) -> &mut Self {
        write!(self.0, "{number}").expect("writing to a string");
        self
    }

    /// The address of data of this media type, also in a tag.
    pub(super) fn data(&mut self, media_type: &'static str, bytes: &[u8]) -> &mut Self {
        use base64::Engine as _;
        self.0.push_str("data:");
        self.0.push_str(media_type);
        self.0.push_str(";base64,");
        base64::engine::general_purpose::STANDARD.encode_string(bytes, &mut self.0);
        self
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn escaped(text: &str) -> String {
        let mut html = Html::default();
        html.text(text);
        html.0
    }

    /// What a browser shows of text without tags.
    fn shown(html: &str) -> String {
        let html = html.replace("<i class=h>", "").replace("</i>", "");
        let html = html.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"");
        html.replace("&#39;", "'").replace("&amp;", "&")
    }

    proptest! {
        #[test]
        fn no_text_makes_markup_or_hides(text in any::<String>()) {
            let html = escaped(&text);
            let without = html.replace("<i class=h>", "").replace("</i>", "");
            prop_assert!(!without.contains(['<', '>', '"', '\'']));
            prop_assert!(!without.chars().any(|c| is_hidden(c) && c != '\t'));
            for (at, _) in without.match_indices('&') {
                prop_assert!(["&amp;", "&lt;", "&gt;", "&quot;", "&#39;"].iter().any(|e| without[at..].starts_with(e)));
            }
        }

        #[test]
        fn plain_text_is_shown_as_it_is(text in "[ -~é-ž]{0,60}") {
            prop_assert_eq!(shown(&escaped(&text)), text);
        }
    }

    /// C09.
    #[test]
    fn every_hidden_character_is_made_visible() {
        for c in (0..=0x10_ffff).filter_map(char::from_u32).filter(|c| is_hidden(*c) && *c != '\t') {
            let code = u32::from(c);
            assert_eq!(escaped(&c.to_string()), format!("<i class=h>\\u{{{code:x}}}</i>"));
        }
    }

    #[test]
    fn lines_stay_lines_and_carriage_returns_are_seen() {
        let mut html = Html::default();
        html.lines("a\r\n<b>");
        assert_eq!(html.as_str(), "a<i class=h>\\u{d}</i>\n&lt;b&gt;");
    }
}
