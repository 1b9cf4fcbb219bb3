//! From words to server blocks, as CoreDNS does it (`caddyfile/parse.go`): the words of each
//! plugin, with imports in place.

use std::collections::HashMap;

use super::files::{Files, NoFile};
use super::lex::lex;
use super::token::{BYTES_MAX, PATH, Path, Place, SyntaxError, Token, shown};

/// The most words of a Corefile with all its imports.
const TOKENS_MAX: usize = 1 << 15;

/// The most imports. CoreDNS allows 10,000 of snippets and 100,000 of files.
const IMPORTS_MAX: usize = 1000;

/// A server block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServerBlock {
    /// The addresses, such as `.:53`.
    pub(super) keys: Vec<Token>,
    /// The plugins in the order of their first lines.
    pub(super) plugins: Vec<Directive>,
}

/// A plugin of a server block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Directive {
    /// The plugin's name.
    pub(super) name: Path,
    /// The words of all its lines, its name included. There is at least one.
    pub(super) tokens: Vec<Token>,
}

/// Parses a Corefile.
///
/// # Errors
/// Where CoreDNS refuses it, where an import leads to a file that is not known, where an
/// environment variable stands for structure, and where the bounds are exceeded.
pub(super) fn parse(text: &str, files: &Files) -> Result<Vec<ServerBlock>, SyntaxError> {
    let file: Path = PATH.into();
    if text.len() > BYTES_MAX {
        return Err(SyntaxError {
            place: Place { file, line: 1 },
            word: String::new(),
            reason: format!("more than {BYTES_MAX} bytes"),
            is_unread: false,
        });
    }
    let mut parser = Parser {
        tokens: lex(text, &file),
        next: 0,
        snippets: HashMap::new(),
        imports: 0,
        files,
    };
    parser.check_size()?;
    let mut blocks = Vec::new();
    while parser.advance() {
        blocks.extend(parser.block()?);
    }
    Ok(blocks)
}

struct Parser<'a> {
    tokens: Vec<Token>,
    /// Index behind the present word.
    next: usize,
    snippets: HashMap<String, Vec<Token>>,
    imports: usize,
    files: &'a Files,
}

impl Parser<'_> {
    /// Goes to the next word. Returns whether there is one.
    fn advance(&mut self) -> bool {
        let is_more = self.next < self.tokens.len();
        self.next += usize::from(is_more);
        is_more
    }

    /// The present word. `None` if an import without words has left nothing.
    fn present(&self) -> Option<&Token> {
        self.tokens.get(self.next.checked_sub(1)?)
    }

    fn is(&self, word: &str) -> bool {
        self.present().is_some_and(|token| &*token.text == word)
    }

    /// Whether the present word begins a line.
    fn begins_line(&self) -> bool {
        let Some(at) = self.next.checked_sub(1) else {
            return true;
        };
        let Some(last) = at.checked_sub(1).and_then(|at| self.tokens.get(at)) else {
            return true;
        };
        let present = self.tokens.get(at);
        present.is_some_and(|present| last.ends_line_before(present))
    }

    /// The error at the present word.
    fn error(&self, reason: impl Into<String>) -> SyntaxError {
        match self.present().or(self.tokens.last()) {
            Some(token) => token.error(reason),
            None => SyntaxError {
                place: Place {
                    file: PATH.into(),
                    line: 1,
                },
                word: String::new(),
                reason: reason.into(),
                is_unread: false,
            },
        }
    }

    fn check_size(&self) -> Result<(), SyntaxError> {
        if self.tokens.len() > TOKENS_MAX {
            return Err(self.error(format!("more than {TOKENS_MAX} words")));
        }
        Ok(())
    }

    /// Parses a server block or a snippet from the present word on. `None` for a snippet.
    fn block(&mut self) -> Result<Option<ServerBlock>, SyntaxError> {
        let (keys, is_end) = self.keys()?;
        if is_end {
            // Addresses alone are a server block without plugins.
            let block = ServerBlock {
                keys,
                plugins: Vec::new(),
            };
            return Ok((!block.keys.is_empty()).then_some(block));
        }
        if let [key] = keys.as_slice()
            && let Some(name) = key
                .text
                .strip_prefix('(')
                .and_then(|it| it.strip_suffix(')'))
        {
            let tokens = self.snippet()?;
            if self.snippets.insert(name.to_owned(), tokens).is_some() {
                return Err(key.error("the snippet is declared twice"));
            }
            return Ok(None);
        }
        let is_open = self.is("{");
        if !is_open {
            // A Corefile with one server block needs no braces.
            self.next -= 1;
        }
        let plugins = self.plugins()?;
        if is_open && !self.is("}") {
            return Err(self.error("the server block has no closing brace"));
        }
        Ok((!keys.is_empty()).then_some(ServerBlock { keys, plugins }))
    }

    /// Parses the addresses of a server block, and goes to the word behind them. Returns also
    /// whether the Corefile ends with them.
    fn keys(&mut self) -> Result<(Vec<Token>, bool), SyntaxError> {
        let mut keys = Vec::new();
        let mut is_list = false;
        loop {
            if self.is("import") && self.begins_line() {
                self.import()?;
                continue;
            }
            if self.is("{") {
                if is_list {
                    return Err(self.error("another address should follow the comma"));
                }
                return Ok((keys, false));
            }
            if let Some(key) = self.present().filter(|key| !key.text.is_empty()) {
                check_variable(key)?;
                let mut key = key.clone();
                let listed = key.text.strip_suffix(',').map(Path::from);
                is_list = listed.is_some();
                key.text = listed.unwrap_or(key.text);
                keys.push(key);
            }
            let is_more = self.advance();
            if is_list && !is_more {
                return Err(self.error("another address should follow the comma"));
            }
            if !is_more {
                return Ok((keys, true));
            }
            if !is_list && self.begins_line() {
                return Ok((keys, false));
            }
        }
    }

    /// The words of a snippet, whose opening brace is the present word.
    fn snippet(&mut self) -> Result<Vec<Token>, SyntaxError> {
        if !self.is("{") {
            return Err(self.error("a snippet needs an opening brace"));
        }
        let mut depth = 1_usize;
        let mut tokens = Vec::new();
        while self.advance() {
            if self.is("}") {
                depth -= 1;
                if depth == 0 {
                    return Ok(tokens);
                }
            }
            depth += usize::from(self.is("{"));
            tokens.extend(self.present().cloned());
        }
        Err(self.error("the snippet has no closing brace"))
    }

    /// The plugins up to the closing brace of the server block.
    fn plugins(&mut self) -> Result<Vec<Directive>, SyntaxError> {
        let mut plugins: Vec<Directive> = Vec::new();
        while self.advance() {
            if self.is("}") {
                break;
            }
            if self.is("import") {
                self.import()?;
                self.next -= 1;
                continue;
            }
            let tokens = self.plugin()?;
            let Some(name) = tokens.first().map(|token| Path::clone(&token.text)) else {
                continue;
            };
            match plugins.iter_mut().find(|plugin| plugin.name == name) {
                Some(plugin) => plugin.tokens.extend(tokens),
                None => plugins.push(Directive { name, tokens }),
            }
        }
        Ok(plugins)
    }

    /// The words of a plugin, of which the present word is the first.
    fn plugin(&mut self) -> Result<Vec<Token>, SyntaxError> {
        let mut tokens: Vec<Token> = self.present().cloned().into_iter().collect();
        for name in &tokens {
            check_variable(name)?;
        }
        let mut depth = 0_usize;
        while self.advance() {
            if self.is("{") {
                depth += 1;
            } else if self.begins_line() && depth == 0 {
                self.next -= 1;
                break;
            } else if self.is("}") {
                let Some(outer) = depth.checked_sub(1) else {
                    return Err(self.error("there is no opening brace for this one"));
                };
                depth = outer;
            } else if self.is("import") && self.begins_line() {
                self.import()?;
                self.next -= 1;
                continue;
            }
            tokens.extend(self.present().cloned());
        }
        if depth > 0 {
            return Err(self.error("the plugin's block has no closing brace"));
        }
        Ok(tokens)
    }

    /// Puts the words of a snippet or of files in the place of `import` and its argument, and
    /// goes to the first of these words.
    fn import(&mut self) -> Result<(), SyntaxError> {
        let at = self.next - 1;
        let [import, argument, rest @ ..] = self.tokens.get(at..).unwrap_or_default() else {
            return Err(self.error("an import needs a path"));
        };
        if !import.continues(argument) {
            return Err(import.error("an import needs a path"));
        }
        let argument = argument.clone();
        check_variable(&argument)?;
        if argument.text.is_empty() {
            return Err(argument.error("an import needs a path"));
        }
        if rest.first().is_some_and(|it| argument.continues(it)) {
            return Err(argument.error("an import has one path"));
        }
        self.imports += 1;
        if self.imports > IMPORTS_MAX {
            return Err(argument.error(format!("more than {IMPORTS_MAX} imports")));
        }
        let imported = match self.snippets.get(&*argument.text) {
            Some(snippet) => snippet.clone(),
            None => self.imported(&argument)?,
        };
        self.tokens.splice(at..at + 2, imported);
        self.check_size()
    }

    /// The words of the files that an import names.
    fn imported(&self, argument: &Token) -> Result<Vec<Token>, SyntaxError> {
        let matching = self.files.matching(&argument.text, &argument.place.file);
        let files = matching.map_err(|NoFile { reason, is_unread }| SyntaxError {
            is_unread,
            ..argument.error(reason)
        })?;
        let mut tokens = Vec::new();
        for (path, text) in files {
            tokens.extend(lex(text, &path.into()));
        }
        Ok(tokens)
    }
}

/// Refuses an environment variable where structure depends on the word.
fn check_variable(token: &Token) -> Result<(), SyntaxError> {
    match token.variable() {
        Some(name) => {
            let name = shown(name);
            Err(token.error(format!("the value of the variable {name} is not known")))
        }
        None => Ok(()),
    }
}
