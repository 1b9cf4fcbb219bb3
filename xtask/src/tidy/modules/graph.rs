//! The graph of files that read from each other, and the shortest circles in it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::resolve::Target;
use super::source::Package;

/// One module names an item of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Edge {
    /// Indices in [`Package::modules`].
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) line: usize,
}

/// A module names a foreign crate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Foreign {
    pub(super) from: usize,
    pub(super) name: String,
    pub(super) line: usize,
}

impl Package {
    /// All edges from modules to other files, and all foreign crates that modules name.
    ///
    /// A re-export of an item from below the module is no edge: a user of the item reads
    /// from the file that defines it. The import of a module is no edge either: the paths
    /// that start with the module's name are edges.
    pub(super) fn edges(&self) -> (Vec<Edge>, Vec<Foreign>) {
        let (mut edges, mut foreign) = (BTreeSet::new(), BTreeSet::new());
        for (from, module) in self.modules.iter().enumerate() {
            let mut add = |target: Target, line: usize, facade: bool| match target {
                Target::Foreign(name) => {
                    foreign.insert(Foreign { from, name, line });
                }
                Target::Item(to) if !(facade && self.is_within(to, from)) => {
                    edges.insert(Edge { from, to, line });
                }
                Target::Item(_) | Target::Module(_) => {}
            };
            for mention in &module.mentions {
                for target in self.resolve(from, mention) {
                    add(target, mention.line, false);
                }
            }
            for import in &module.imports {
                for target in self.resolve(from, &import.of) {
                    let target = match target {
                        // A glob may use anything that the module defines.
                        Target::Module(to) if import.name.is_none() => Target::Item(to),
                        other => other,
                    };
                    add(target, import.of.line, import.reexport);
                }
            }
        }
        let file = |module: usize| self.modules[module].file;
        edges.retain(|edge| file(edge.from) != file(edge.to));
        (edges.into_iter().collect(), foreign.into_iter().collect())
    }
}

/// Files, each with the files it reads.
#[derive(Debug, Default)]
pub(super) struct Graph(BTreeMap<usize, BTreeSet<usize>>);

impl Graph {
    pub(super) fn new(edges: impl IntoIterator<Item = (usize, usize)>) -> Self {
        let mut graph = Self::default();
        for (from, to) in edges {
            graph.0.entry(from).or_default().insert(to);
        }
        graph
    }

    /// For each group of files that read from each other, one of the shortest
    /// circles in it: files in order, the first not repeated.
    pub(super) fn circles(&self) -> Vec<Vec<usize>> {
        let mut circles: Vec<Vec<usize>> = Vec::new();
        for (&from, others) in &self.0 {
            for &to in others {
                circles.extend(self.way(to, from));
            }
        }
        circles.sort_by_key(Vec::len);
        let mut shortest: Vec<Vec<usize>> = Vec::new();
        for circle in circles {
            let joined = |other: &Vec<usize>| {
                self.way(circle[0], other[0]).is_some() && self.way(other[0], circle[0]).is_some()
            };
            if !shortest.iter().any(joined) {
                shortest.push(circle);
            }
        }
        shortest
    }

    /// The shortest way from one file to another, both included.
    fn way(&self, from: usize, to: usize) -> Option<Vec<usize>> {
        let mut before = BTreeMap::from([(from, from)]);
        let mut waiting = VecDeque::from([from]);
        while let Some(at) = waiting.pop_front() {
            if at == to {
                let mut way = vec![at];
                let mut at = at;
                while at != from {
                    at = before[&at];
                    way.push(at);
                }
                way.reverse();
                return Some(way);
            }
            for &next in self.0.get(&at).into_iter().flatten() {
                before.entry(next).or_insert_with(|| {
                    waiting.push_back(next);
                    at
                });
            }
        }
        None
    }
}
