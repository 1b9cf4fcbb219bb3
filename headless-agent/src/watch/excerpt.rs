//! Texts of objects as people see them: short, and without characters that a terminal or a log
//! would obey.

use std::fmt::{self, Write as _};

/// The longest text of an object that a problem keeps, in bytes. A domain name has at most 253
/// (RFC 1035, section 2.3.4).
pub const EXCERPT_MAX: usize = 256;

/// A text of an object, or what another program says about it. It is cut, because objects may
/// hold megabytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Excerpt(Box<str>);

impl From<&str> for Excerpt {
    fn from(text: &str) -> Self {
        if text.len() <= EXCERPT_MAX {
            return Self(text.into());
        }
        let start = &text[..text.floor_char_boundary(EXCERPT_MAX)];
        Self(format!("{start}… ({} bytes)", text.len()).into())
    }
}

impl From<String> for Excerpt {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<&String> for Excerpt {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Prints a value on one line: characters that a terminal or a log would obey are escaped as in
/// Rust (`\n`, `\u{1b}`).
#[derive(Clone, Copy, Debug)]
pub struct Printable<T>(pub T);

impl<T: fmt::Display> fmt::Display for Printable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

/// Whether a character is more than its glyph: a control character, a line or paragraph
/// separator, or one that turns the direction of the text behind it (Unicode Standard Annex 9,
/// section 2).
pub fn is_obeyed(char: char) -> bool {
    char.is_control()
        || matches!(
            char,
            '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{61c}'
        )
        || matches!(char, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Passes text on with obeyed characters escaped.
struct Escaping<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl fmt::Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.find(is_obeyed) {
            let (plain, from) = rest.split_at(at);
            self.0.write_str(plain)?;
            let mut chars = from.chars();
            if let Some(char) = chars.next() {
                write!(self.0, "{}", char.escape_default())?;
            }
            rest = chars.as_str();
        }
        self.0.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_is_longer_than_an_excerpt() {
        let longest = "a".repeat(EXCERPT_MAX);
        assert_eq!(Excerpt::from(&longest).to_string(), longest);
        let text = format!("{}é", "a".repeat(EXCERPT_MAX - 1));
        let cut = format!("{}… (257 bytes)", "a".repeat(EXCERPT_MAX - 1));
        assert_eq!(Excerpt::from(text).to_string(), cut);
        let million = Excerpt::from("é".repeat(500_000));
        assert!(million.0.len() < EXCERPT_MAX + 30, "{million}");
    }

    #[test]
    fn no_text_breaks_out_of_its_line() {
        for (text, shown) in [
            ("web-0", "web-0"),
            ("grün, 緑", "grün, 緑"),
            ("a\nERROR b", "a\\nERROR b"),
            ("a\r\tb", "a\\r\\tb"),
            ("\u{1b}[2Ja\u{7}", "\\u{1b}[2Ja\\u{7}"),
            ("\u{9b}2J", "\\u{9b}2J"),
            ("a\u{202e}b\u{2028}c", "a\\u{202e}b\\u{2028}c"),
        ] {
            assert_eq!(Printable(text).to_string(), shown);
        }
    }
}
