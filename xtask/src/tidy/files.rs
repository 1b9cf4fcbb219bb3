//! Rules of single files: length, and names that say something.

use std::path::Path;

use syn::visit::{self, Visit};

/// The most lines of a file. A longer file has more than one subject.
const LINES_MAX: usize = 420;

/// Names that do not tell a module's subject.
const EMPTY_NAMES: [&str; 7] = [
    "common", "helper", "helpers", "manager", "misc", "util", "utils",
];

/// Findings in one file. `name` is its path relative to the workspace, `text` its
/// content.
pub(super) fn findings(name: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    let lines = text.lines().count();
    if lines > LINES_MAX {
        findings.push(format!("{name}: {lines} lines, over {LINES_MAX}: split it"));
    }
    for part in Path::new(name).with_extension("").components() {
        let part = part.as_os_str().to_string_lossy();
        if EMPTY_NAMES.contains(&part.as_ref()) {
            findings.push(format!(
                "{name}: the name \"{part}\" does not tell a subject"
            ));
        }
    }
    match syn::parse_file(text) {
        Ok(file) => {
            let mut found = EmptyNames::default();
            found.visit_file(&file);
            findings.extend(found.0.into_iter().map(|(module, line)| {
                format!("{name}:{line}: the name \"{module}\" does not tell a subject")
            }));
        }
        Err(error) => findings.push(format!("{name}: {error}")),
    }
    findings
}

/// Names in [`EMPTY_NAMES`] of modules that are blocks, with their lines. The file's name
/// shows a module in a file of its own.
#[derive(Default)]
struct EmptyNames(Vec<(String, usize)>);

impl<'ast> Visit<'ast> for EmptyNames {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let name = item.ident.to_string();
        if item.content.is_some() && EMPTY_NAMES.contains(&name.as_str()) {
            self.0.push((name, item.ident.span().start().line));
        }
        visit::visit_item_mod(self, item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_names_and_long_files_are_found() {
        for (file, text, count) in [
            ("xtask/src/utils.rs", "", 1),
            ("xtask/src/helpers/mod.rs", "", 1),
            ("xtask/src/a.rs", "pub mod common { fn x() {} }", 1),
            ("xtask/src/a.rs", "mod names { mod util { } }", 1),
            ("xtask/src/a.rs", "mod common;", 0),
            ("xtask/src/a.rs", "/* mod common { } */", 0),
            ("xtask/src/a.rs", "mod {", 1),
            ("xtask/src/a.rs", &"\n".repeat(LINES_MAX), 0),
            ("xtask/src/a.rs", &"\n".repeat(LINES_MAX + 1), 1),
        ] {
            assert_eq!(findings(file, text).len(), count, "{file}: {text:?}");
        }
    }
}
