//! Words of a Corefile, and the walk over the words of a plugin.

use std::fmt;
use std::sync::Arc;

/// The path at which the images and charts of CoreDNS mount the Corefile. Relative paths in the
/// Corefile begin at its folder.
pub const PATH: &str = "/etc/coredns/Corefile";

/// The longest Corefile in bytes. The API server takes no `ConfigMap` of more than 1 MiB.
pub const BYTES_MAX: usize = 1 << 20;

/// A path of a file, shared by its words.
pub(super) type Path = Arc<str>;

/// A place in a Corefile or in a file that it imports.
#[derive(Clone, PartialEq, Eq)]
pub struct Place {
    /// Path of the file.
    pub file: Path,
    /// Line, counted from 1.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.file.rsplit('/').next().unwrap_or_default();
        write!(f, "line {} of {name}", self.line)
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A Corefile that cannot be read. Names the line and the word.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}, at `{word}`: {reason}")]
pub struct SyntaxError {
    /// The place of that word.
    pub place: Place,
    /// The word at which the error was noticed, shortened.
    pub word: String,
    /// The fault, in words.
    pub reason: String,
    /// Whether the fault is that an imported folder cannot be read.
    pub is_unread: bool,
}

/// The most characters of a word that a message shows.
const SHOWN_MAX: usize = 64;

/// A word without control characters, shortened for a message.
pub(super) fn shown(word: &str) -> String {
    let mut text: String = word.chars().take(SHOWN_MAX).collect();
    if text.len() < word.len() {
        text.push('…');
    }
    text.escape_debug().to_string()
}

/// A word: a run of characters without spaces, or the content of quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    /// The characters, without the quotes.
    pub(super) text: Path,
    /// The place of the first character.
    pub(super) place: Place,
}

impl Token {
    /// The line on which the word ends: a word in quotes may have several lines.
    fn last_line(&self) -> usize {
        self.place.line + self.text.matches('\n').count()
    }

    /// Whether `next` stands on the same line (`dispenser.go`, `NextArg`).
    pub(super) fn continues(&self, next: &Self) -> bool {
        self.place.file == next.place.file && self.last_line() == next.place.line
    }

    /// Whether `next` begins a line (`dispenser.go`, `isNewLine`). Both are false where a snippet
    /// from further up follows.
    pub(super) fn ends_line_before(&self, next: &Self) -> bool {
        self.place.file != next.place.file || self.last_line() < next.place.line
    }

    /// The error at this word.
    pub(super) fn error(&self, reason: impl Into<String>) -> SyntaxError {
        SyntaxError {
            place: self.place.clone(),
            word: shown(&self.text),
            reason: reason.into(),
            is_unread: false,
        }
    }

    /// The name of an environment variable in the word, whose value only CoreDNS knows: `{$NAME}`
    /// or `{%NAME%}` (`parse.go`, `replaceEnvVars`).
    pub(super) fn variable(&self) -> Option<&str> {
        let name = |open: &str, close: &str| {
            let (_, after) = self.text.split_once(open)?;
            let (name, _) = after.split_once(close)?;
            (!name.is_empty()).then_some(name)
        };
        name("{%", "%}").or_else(|| name("{$", "}"))
    }
}

/// The words of a plugin: its name, its arguments, and its block.
#[derive(Clone, Debug)]
pub(super) struct Words<'a> {
    tokens: &'a [Token],
    /// Number of words that have been taken.
    taken: usize,
    in_block: bool,
}

impl<'a> Words<'a> {
    /// All words of a plugin in a server block: its lines follow each other.
    pub(super) fn new(tokens: &'a [Token]) -> Self {
        Self {
            tokens,
            taken: 0,
            in_block: false,
        }
    }

    /// The next word, wherever it stands.
    pub(super) fn next(&mut self) -> Option<&'a Token> {
        let token = self.tokens.get(self.taken)?;
        self.taken += 1;
        Some(token)
    }

    /// The end of the only directive of a plugin.
    ///
    /// # Errors
    /// Where words are left: the plugin stands in the server block twice.
    pub(super) fn end(mut self) -> Result<(), SyntaxError> {
        let again = self.next();
        again.map_or(Ok(()), |again| {
            Err(again.error("the plugin stands in the server block twice"))
        })
    }

    /// The next word if it stands on the line of the last one.
    pub(super) fn next_arg(&mut self) -> Option<&'a Token> {
        let next = self.tokens.get(self.taken)?;
        let last = self.tokens.get(self.taken.checked_sub(1)?)?;
        if !last.continues(next) {
            return None;
        }
        self.taken += 1;
        Some(next)
    }

    /// The words up to the end of the line or the beginning of a block.
    pub(super) fn args(&mut self) -> Vec<&'a Token> {
        let mut args = Vec::new();
        while let Some(arg) = self.next_arg() {
            if &*arg.text == "{" {
                self.taken -= 1;
                break;
            }
            args.push(arg);
        }
        args
    }

    /// The next word in the block of the last word. `None` at the block's end, or if no block
    /// follows (`dispenser.go`, `NextBlock`).
    pub(super) fn next_in_block(&mut self) -> Option<&'a Token> {
        if !self.in_block {
            let open = self.next_arg()?;
            if &*open.text != "{" {
                self.taken -= 1;
                return None;
            }
        }
        let token = self.next()?;
        self.in_block = &*token.text != "}";
        self.in_block.then_some(token)
    }
}
