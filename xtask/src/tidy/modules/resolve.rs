//! Finds the module that defines what a path names, through imports, globs
//! and re-exports.

use super::source::{Import, Mention, Package};

/// The most imports and globs that are followed for one path. The compiler refuses imports
/// that lead in a circle, but our simpler search may go round in sources that compile.
const STEPS_MAX: u32 = 12;

/// The end of a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    /// A module itself.
    Module(usize),
    /// An item that this module defines.
    Item(usize),
    /// Something of another package.
    Foreign(String),
}

impl Package {
    /// The targets of a path that the module `from` mentions. There is more than one target
    /// where a module and an item have the same name.
    pub(super) fn resolve(&self, from: usize, mention: &Mention) -> Vec<Target> {
        self.walk(from, mention, STEPS_MAX)
    }

    fn walk(&self, from: usize, mention: &Mention, steps: u32) -> Vec<Target> {
        let mut names = mention.path.iter().map(String::as_str).peekable();
        let Some(first) = names.next() else {
            return Vec::new();
        };
        let foreign = || vec![Target::Foreign(first.to_owned())];
        if mention.absolute || steps == 0 {
            return foreign();
        }
        let mut found = match first {
            "Self" => return Vec::new(),
            "crate" => vec![Target::Module(self.root(from))],
            "self" => vec![Target::Module(from)],
            "super" => vec![Target::Module(self.parent(from))],
            _ => self.lookup(from, first, steps - 1),
        };
        if found.is_empty() {
            found = match &self.library {
                Some((name, root)) if name == first => vec![Target::Module(*root)],
                _ => return foreign(),
            };
        }
        for name in names {
            let module = found.iter().find_map(|target| match target {
                Target::Module(module) => Some(*module),
                _ => None,
            });
            // The rest are parts of an item, or of a foreign module.
            let Some(module) = module else {
                return found;
            };
            found = match name {
                "super" => vec![Target::Module(self.parent(module))],
                "self" => vec![Target::Module(module)],
                name => self.lookup(module, name, steps - 1),
            };
            if found.is_empty() {
                // A macro of the module has defined it.
                return vec![Target::Item(module)];
            }
        }
        found
    }

    /// The targets of a name in a module.
    fn lookup(&self, module: usize, name: &str, steps: u32) -> Vec<Target> {
        let here = &self.modules[module];
        let mut found = Vec::new();
        found.extend(here.children.get(name).map(|child| Target::Module(*child)));
        if here.items.contains(name) {
            found.push(Target::Item(module));
        }
        let imports = here.imports.iter();
        let named = imports.filter(|import| import.name.as_deref() == Some(name));
        for Import { of, .. } in named {
            // `use name::Name as name` and `use name;` are about a child, else about
            // a foreign crate: looking the name up here would find this import again.
            let of_itself = of.path.first().is_some_and(|first| first == name);
            if of_itself && !here.children.contains_key(name) {
                found.push(Target::Foreign(name.to_owned()));
            } else if !of_itself || of.path.len() > 1 {
                found.extend(self.walk(module, of, steps));
            }
        }
        if found.is_empty() && steps > 0 {
            let globs = here.imports.iter().filter(|import| import.name.is_none());
            for Import { of, .. } in globs {
                for target in self.walk(module, of, steps - 1) {
                    if let Target::Module(of) = target
                        && of != module
                    {
                        found.extend(self.lookup(of, name, steps - 1));
                    }
                }
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    fn parent(&self, module: usize) -> usize {
        self.modules[module].parent.unwrap_or(module)
    }

    fn root(&self, mut module: usize) -> usize {
        while let Some(parent) = self.modules[module].parent {
            module = parent;
        }
        module
    }

    /// Whether `module` is `of`, or below it.
    pub(super) fn is_within(&self, module: usize, of: usize) -> bool {
        let mut at = Some(module);
        while let Some(module) = at {
            if module == of {
                return true;
            }
            at = self.modules[module].parent;
        }
        false
    }
}
