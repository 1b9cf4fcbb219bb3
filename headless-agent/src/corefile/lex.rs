//! From text to words, as CoreDNS does it (`caddyfile/lexer.go`).

use super::token::{Path, Place, Token};

/// Splits a text into words. Words in quotes may have spaces and lines, and `\"` stands for a
/// quote in them. A `#` begins a comment, also within a word.
///
/// CoreDNS's lexer has a quirk that is kept: a comment right behind a word ends at the next
/// space, not at the end of the line.
pub(super) fn lex(text: &str, file: &Path) -> Vec<Token> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lexer = Lexer {
        chars: text.chars(),
        line: 1,
    };
    let mut tokens = Vec::new();
    while let Some((line, word)) = lexer.word() {
        tokens.push(Token {
            text: word.into(),
            place: Place {
                file: Path::clone(file),
                line,
            },
        });
    }
    tokens
}

struct Lexer<'a> {
    chars: std::str::Chars<'a>,
    line: usize,
}

impl Lexer<'_> {
    /// The next word, and the line on which it begins.
    fn word(&mut self) -> Option<(usize, String)> {
        let mut word = String::new();
        let mut begun = self.line;
        let mut comment = false;
        while let Some(char) = self.chars.next() {
            if char.is_whitespace() {
                if char == '\r' {
                    continue;
                }
                if char == '\n' {
                    self.line += 1;
                    comment = false;
                }
                if !word.is_empty() {
                    return Some((begun, word));
                }
                continue;
            }
            comment |= char == '#';
            if comment {
                continue;
            }
            if word.is_empty() {
                begun = self.line;
                if char == '"' {
                    return self.quoted().map(|word| (begun, word));
                }
            }
            word.push(char);
        }
        (!word.is_empty()).then_some((begun, word))
    }

    /// The rest of a word in quotes. `None` if the text ends right behind the quote.
    fn quoted(&mut self) -> Option<String> {
        let mut word = String::new();
        let mut escaped = false;
        for char in self.chars.by_ref() {
            if !escaped && char == '\\' {
                escaped = true;
                continue;
            }
            if !escaped && char == '"' {
                return Some(word);
            }
            if char == '\n' {
                self.line += 1;
            }
            if escaped && char != '"' {
                word.push('\\');
            }
            word.push(char);
            escaped = false;
        }
        (!word.is_empty()).then_some(word)
    }
}
