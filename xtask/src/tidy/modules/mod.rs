//! The rules of modules: a module reads only from rows above its own in the table of
//! layers, and no files read from each other in a circle.
//!
//! Both rules look at parsed sources. A path counts where it stands in a `use` item, in
//! code, in a type, or among a macro's arguments. It leads to the file that defines the
//! item, through imports, globs and re-exports. So a child may use its siblings through
//! its parent. A child may use items of its parent's file as long as the parent uses no
//! item of the child; a re-export is no use. Methods are not seen, because a call of a
//! method names no path.

mod attributes;
mod graph;
mod resolve;
mod source;
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result};

use self::graph::{Edge, Foreign, Graph};
use self::source::Package;
pub(super) use self::source::Root;
use self::table::Layers;

/// A package of the workspace.
#[derive(Debug)]
pub(super) struct Sources {
    pub(super) name: String,
    pub(super) roots: Vec<Root>,
}

/// Checks the packages against the tables in `architecture`; returns the
/// findings.
///
/// # Errors
/// When a source or a table cannot be read.
pub(super) fn check(
    workspace: &Path,
    packages: &[Sources],
    architecture: &str,
) -> Result<Vec<String>> {
    let tables = table::read(architecture).context("cannot read the layers of ARCHITECTURE.md")?;
    let mut findings = Vec::new();
    for Sources { name, roots } in packages {
        let package = Package::read(workspace, roots)?;
        let layers = tables.iter().find(|table| table.package == *name);
        findings.extend(Checked::new(&package, layers).findings());
    }
    for table in tables {
        if !packages.iter().any(|package| package.name == table.package) {
            findings.push(format!(
                "ARCHITECTURE.md: {} has layers but is no package",
                table.package
            ));
        }
    }
    Ok(findings)
}

/// A package, its edges, and the foreign crates that it names.
struct Checked<'a> {
    package: &'a Package,
    layers: Option<&'a Layers>,
    edges: Vec<Edge>,
    foreign: Vec<Foreign>,
}

impl<'a> Checked<'a> {
    fn new(package: &'a Package, layers: Option<&'a Layers>) -> Self {
        let (edges, foreign) = package.edges();
        Self {
            package,
            layers,
            edges,
            foreign,
        }
    }

    fn findings(&self) -> Vec<String> {
        let mut findings = self.unlisted();
        findings.extend(self.misplaced());
        findings.extend(self.misused());
        findings.extend(
            self.graph()
                .circles()
                .iter()
                .map(|circle| self.shown(circle)),
        );
        findings
    }

    fn shown(&self, circle: &[usize]) -> String {
        let mut lines = vec!["these files read from each other in a circle:".to_owned()];
        for (at, from) in circle.iter().enumerate() {
            let to = circle[(at + 1) % circle.len()];
            let mut edges = self.edges.iter();
            let edge = edges.find(|edge| self.files(**edge) == (*from, to));
            let line = edge.map_or(0, |edge| edge.line);
            lines.push(format!("    {}:{line}", self.package.files[*from]));
        }
        lines.join("\n")
    }

    /// Modules without a row, and rows without a module.
    fn unlisted(&self) -> Vec<String> {
        let Some(layers) = self.layers else {
            return Vec::new();
        };
        let modules = &self.package.modules;
        let top = modules.iter().filter(|module| module.path.len() == 1);
        let missing = top.filter(|module| layers.row(&module.path).is_none());
        let missing = missing.map(|module| {
            let file = &self.package.files[module.file];
            format!("{file}: no row of the layers in ARCHITECTURE.md has it")
        });
        let listed = layers.listed();
        let gone = listed.filter(|(_, path)| !modules.iter().any(|module| module.path == *path));
        let gone = gone.map(|(_, path)| {
            let (package, path) = (&layers.package, path.join("::"));
            format!("ARCHITECTURE.md: {package} has no module {path}")
        });
        missing.chain(gone).collect()
    }

    /// Modules that read from a row below their own, or from another module of their own
    /// row. Two files make one finding, with the first line.
    fn misplaced(&self) -> Vec<String> {
        let mut seen = BTreeSet::new();
        let misplaced = self.edges.iter().filter(|edge| !self.is_ordered(**edge));
        let first = misplaced.filter(|edge| seen.insert(self.files(**edge)));
        let text = first.map(|edge| {
            let (file, line) = (self.file(edge.from), edge.line);
            let [from, to] = [edge.from, edge.to].map(|module| self.path(module).join("::"));
            let to = if to.is_empty() { "the root" } else { &to };
            format!("{file}:{line}: {from} reads from {to}, which no row above its own has")
        });
        text.collect()
    }

    /// Modules that name a foreign crate which the table keeps to other rows. A file and a
    /// crate make one finding, with the first line.
    fn misused(&self) -> Vec<String> {
        let mut seen = BTreeSet::new();
        let misused = self
            .foreign
            .iter()
            .filter(|foreign| !self.is_allowed(foreign));
        let first = misused.filter(|foreign| seen.insert((self.file(foreign.from), &foreign.name)));
        let text = first.map(|Foreign { from, name, line }| {
            let (file, path) = (self.file(*from), self.path(*from).join("::"));
            format!("{file}:{line}: {path} names {name}, which the layers keep to others")
        });
        text.collect()
    }

    /// Whether the table allows the module to name the crate: no row lists the crate, or
    /// the module's own row does.
    fn is_allowed(&self, Foreign { from, name, .. }: &Foreign) -> bool {
        let Some(layers) = self.layers else {
            return true;
        };
        let is_kept = layers.rows.iter().any(|row| row.crates.contains(name));
        let Some((row, _)) = layers.row(self.path(*from)) else {
            return true;
        };
        !is_kept || layers.rows[row].crates.contains(name)
    }

    /// Whether the table allows the edge. A crate's root may read from all modules, and no
    /// module may read from the root.
    fn is_ordered(&self, edge: Edge) -> bool {
        let Some(layers) = self.layers else {
            return true;
        };
        let [from, to] = [edge.from, edge.to].map(|module| self.path(module));
        if from.is_empty() {
            return true;
        }
        match (layers.row(from), layers.row(to)) {
            (Some((of, module)), Some((other, read))) => other < of || module == read,
            // A module without a row is a finding of its own.
            _ => !to.is_empty(),
        }
    }

    fn graph(&self) -> Graph {
        Graph::new(self.edges.iter().map(|edge| self.files(*edge)))
    }

    fn files(&self, edge: Edge) -> (usize, usize) {
        let file = |module: usize| self.package.modules[module].file;
        (file(edge.from), file(edge.to))
    }

    fn file(&self, module: usize) -> &'a str {
        &self.package.files[self.package.modules[module].file]
    }

    fn path(&self, module: usize) -> &'a [String] {
        &self.package.modules[module].path
    }
}
