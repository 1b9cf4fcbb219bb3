//! The files that a Corefile may name: the keys of `ConfigMap`s, mounted as folders.

use std::collections::BTreeMap;

use super::token::PATH;

/// A folder of CoreDNS's pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Folder {
    /// The content of its files by name.
    Known(BTreeMap<String, String>),
    /// Why the folder cannot be read.
    Unknown(String),
}

/// The folders of CoreDNS's pods by path, without the final slash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files(BTreeMap<String, Folder>);

/// Why a path leads to no file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NoFile {
    /// The reason in words.
    pub(super) reason: String,
    /// Whether the folder may have the file, and cannot be read.
    pub(super) is_unread: bool,
}

impl NoFile {
    /// A path that certainly leads to no file that the agent could read.
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            is_unread: false,
        }
    }
}

impl Files {
    /// The folders by path.
    pub fn new(folders: impl IntoIterator<Item = (String, Folder)>) -> Self {
        Self(folders.into_iter().collect())
    }

    /// Why folders cannot be read.
    pub fn unread(&self) -> impl Iterator<Item = &str> {
        self.0.values().filter_map(|folder| match folder {
            Folder::Known(_) => None,
            Folder::Unknown(reason) => Some(reason.as_str()),
        })
    }

    /// The files that match a path, of whose last part one `*` and one `?` may stand for other
    /// characters: path and content, in the order of the names. `from` is the file that names the
    /// path. As in CoreDNS (`parse.go`, `doImport`), a pattern may match no file, a path may not.
    pub(super) fn matching(
        &self,
        pattern: &str,
        from: &str,
    ) -> Result<Vec<(String, &str)>, NoFile> {
        let path = absolute(pattern, from);
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", &path));
        let is_pattern = name.contains(['*', '?']);
        let count = |char| path.matches(char).count();
        if count('*') > 1 || count('?') > 1 || path.contains('[') && path.contains(']') {
            return Err(NoFile::new("more than one wildcard"));
        }
        let files = match self.0.get(folder) {
            Some(Folder::Known(files)) => files,
            Some(Folder::Unknown(reason)) => {
                return Err(NoFile {
                    is_unread: true,
                    ..NoFile::new(reason)
                });
            }
            None => {
                return Err(NoFile::new(format!(
                    "no ConfigMap is known for the folder {folder}: --corefile-import names it"
                )));
            }
        };
        let found = files.iter().filter(|(key, _)| matches(name, key));
        let found: Vec<_> = found
            .map(|(key, text)| (format!("{folder}/{key}"), text.as_str()))
            .collect();
        if found.is_empty() && !is_pattern {
            return Err(NoFile::new(format!(
                "the folder {folder} has no file {name}"
            )));
        }
        Ok(found)
    }
}

/// The path without `.` and `..`. A relative one begins at the folder of `from`.
fn absolute(path: &str, from: &str) -> String {
    let from = if from.starts_with('/') { from } else { PATH };
    let (base, _) = from.rsplit_once('/').unwrap_or_default();
    let mut parts = Vec::new();
    let relative = !path.starts_with('/');
    let base = base.split('/').filter(|_| relative);
    for part in base.chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Whether a name matches a pattern with at most one `*` and one `?`.
fn matches(pattern: &str, name: &str) -> bool {
    let mut chars = pattern.chars();
    match chars.next() {
        None => name.is_empty(),
        Some('*') => {
            let rest = chars.as_str();
            let mut ends = name.char_indices().map(|(at, _)| at).chain([name.len()]);
            ends.any(|at| name.get(at..).is_some_and(|tail| matches(rest, tail)))
        }
        Some(char) => {
            let mut names = name.chars();
            names.next().is_some_and(|it| char == '?' || it == char)
                && matches(chars.as_str(), names.as_str())
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn files() -> Files {
        let map = |names: &[&str]| {
            let files = names
                .iter()
                .map(|it| ((*it).to_owned(), format!("of {it}")));
            Folder::Known(files.collect())
        };
        Files::new([
            ("/etc/coredns".to_owned(), map(&["Corefile", "NodeHosts"])),
            (
                "/etc/coredns/custom".to_owned(),
                map(&["b.server", "a.override", "b.override"]),
            ),
            ("/gone".to_owned(), Folder::Unknown("forbidden".to_owned())),
        ])
    }

    #[test]
    fn patterns_match_in_the_order_of_the_names() {
        let files = files();
        let found = files.matching("custom/*.override", PATH).unwrap();
        let paths: Vec<_> = found.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "/etc/coredns/custom/a.override",
                "/etc/coredns/custom/b.override"
            ]
        );
        let found = files.matching("/etc/coredns/custom/?.server", PATH);
        assert_eq!(found.unwrap().len(), 1);
        assert!(files.matching("custom/*.none", PATH).unwrap().is_empty());
    }

    #[test]
    fn a_path_that_leads_to_no_file_is_an_error() {
        let files = files();
        let from = "/etc/coredns/custom/b.server";
        let found = files.matching("../NodeHosts", from).unwrap();
        assert_eq!(
            found,
            [("/etc/coredns/NodeHosts".to_owned(), "of NodeHosts")]
        );
        for path in ["gone", "/gone/x", "/other/*", "custom/*/*", "c[a]"] {
            let error = files.matching(path, PATH).unwrap_err();
            assert_eq!(error.is_unread, path == "/gone/x", "{path}");
        }
    }
}
