//! Rules of single files: length, and names that say something.

use std::path::Path;

use syn::visit::{self, Visit};

/// A longer file has more than one subject.
const LINES_MAX: usize = 520;

/// Names that say nothing of a module's subject.
const EMPTY_NAMES: [&str; 7] = [
    "common", "helper", "helpers", "manager", "misc", "util", "utils",
];

/// What is wrong with one file, by its path relative to the workspace.
pub(super) fn findings(name: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    let lines = text.lines().count();
    if lines > LINES_MAX {
        findings.push(format!("{name}: {lines} lines, over {LINES_MAX}: split it"));
    }
    for part in Path::new(name).with_extension("").components() {
        let part = part.as_os_str().to_string_lossy();
        if EMPTY_NAMES.contains(&part.as_ref()) {
            findings.push(format!("{name}: \"{part}\" says nothing of its subject"));
        }
    }
    match syn::parse_file(text) {
        Ok(file) => {
            let mut found = EmptyNames::default();
            found.visit_file(&file);
            findings.extend(found.0.into_iter().map(|(module, line)| {
                format!("{name}:{line}: \"{module}\" says nothing of its subject")
            }));
        }
        Err(error) => findings.push(format!("{name}: {error}")),
    }
    findings
}

/// Modules written as blocks whose names are empty, with their lines. A module
/// in a file of its own is found by the file's name.
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
