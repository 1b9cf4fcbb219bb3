//! Reads a package's modules from its sources: the items that each module defines, its
//! imports, and the paths that it mentions. Code of tests (`#[cfg(test)]`, `#[test]`) is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use proc_macro2::{Delimiter, Span, TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, Item, Meta, UseTree, Visibility};

use super::attributes::{attributes, given_path, is_test};

/// A path in the source, `crate::records::Index` as three names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mention {
    pub(super) path: Vec<String>,
    /// Whether the path starts with `::`, so that its first name is a crate's.
    pub(super) absolute: bool,
    /// Counted from 1.
    pub(super) line: usize,
}

/// One name that a `use` item brings into its module.
#[derive(Clone, Debug)]
pub(super) struct Import {
    /// `None` for a glob.
    pub(super) name: Option<String>,
    pub(super) of: Mention,
    /// Whether other modules can see the name here.
    pub(super) reexport: bool,
}

/// A module: a file, or a block `mod name { .. }` within one.
#[derive(Debug)]
pub(super) struct Module {
    /// From the root, which has an empty path: `["records", "index"]`.
    pub(super) path: Vec<String>,
    pub(super) parent: Option<usize>,
    /// Index in [`Package::files`].
    pub(super) file: usize,
    pub(super) children: BTreeMap<String, usize>,
    /// Names of items that the module itself defines.
    pub(super) items: BTreeSet<String>,
    pub(super) imports: Vec<Import>,
    /// Paths in code, types, macros' arguments and attributes.
    pub(super) mentions: Vec<Mention>,
}

/// A library or program of a package: where its sources start.
#[derive(Clone, Debug)]
pub(crate) struct Root {
    /// The name that other crates of the package call a library by; `None` for
    /// a program.
    pub(crate) library: Option<String>,
    /// Relative to the workspace.
    pub(crate) file: PathBuf,
}

/// The modules of all crates of a package.
#[derive(Debug, Default)]
pub(super) struct Package {
    pub(super) modules: Vec<Module>,
    /// Relative to the workspace.
    pub(super) files: Vec<String>,
    /// Name and root module of the library.
    pub(super) library: Option<(String, usize)>,
}

impl Package {
    /// Reads the sources of these crates.
    ///
    /// # Errors
    /// When a file cannot be read or parsed; the message names the file.
    pub(super) fn read(workspace: &Path, roots: &[Root]) -> Result<Self> {
        let mut package = Self::default();
        for root in roots {
            let folder = root.file.parent().unwrap_or(Path::new("")).to_owned();
            let module = package.load(workspace, &root.file, &folder, None, &[])?;
            if let Some(name) = &root.library {
                package.library = Some((name.clone(), module));
            }
        }
        Ok(package)
    }

    /// Reads a file as a module; files of its children are in `folder`.
    fn load(
        &mut self,
        workspace: &Path,
        file: &Path,
        folder: &Path,
        parent: Option<usize>,
        path: &[String],
    ) -> Result<usize> {
        let name = file.display();
        let text = fs::read_to_string(workspace.join(file))
            .with_context(|| format!("cannot read {name}"))?;
        let parsed = syn::parse_file(&text).with_context(|| format!("cannot parse {name}"))?;
        self.files.push(name.to_string());
        let file = self.files.len() - 1;
        let module = self.add(file, parent, path);
        let mut missing = Collector::of(self, module).items(&parsed.items);
        for child in &mut missing {
            child.folder = folder.join(&child.folder);
            self.load_child(workspace, child)?;
        }
        Ok(module)
    }

    /// Reads the file that `mod name;` stands for.
    fn load_child(&mut self, workspace: &Path, child: &ChildFile) -> Result<()> {
        let ChildFile {
            parent,
            name,
            folder,
            given,
        } = child;
        let mut path = self.modules[*parent].path.clone();
        path.push(name.clone());
        let below = folder.join(name);
        let flat = folder.join(format!("{name}.rs"));
        let nested = below.join("mod.rs");
        let file = match given {
            Some(given) => folder.join(given),
            None if workspace.join(&flat).is_file() => flat,
            None => nested,
        };
        ensure!(
            workspace.join(&file).is_file(),
            "no file for the module {} of {}",
            path.join("::"),
            self.files[self.modules[*parent].file]
        );
        let module = self.load(workspace, &file, &below, Some(*parent), &path)?;
        self.modules[*parent].children.insert(name.clone(), module);
        Ok(())
    }

    fn add(&mut self, file: usize, parent: Option<usize>, path: &[String]) -> usize {
        self.modules.push(Module {
            path: path.to_vec(),
            parent,
            file,
            children: BTreeMap::new(),
            items: BTreeSet::new(),
            imports: Vec::new(),
            mentions: Vec::new(),
        });
        self.modules.len() - 1
    }
}

/// `mod name;`, whose file is still to be read.
struct ChildFile {
    parent: usize,
    name: String,
    /// Relative to the folder of the file's children.
    folder: PathBuf,
    /// The path in `#[path = ".."]`.
    given: Option<String>,
}

/// Collects what one file says, into the file's module and the blocks within.
struct Collector<'a> {
    package: &'a mut Package,
    module: usize,
    /// Names of the blocks around, which are folders to files below.
    blocks: PathBuf,
    missing: Vec<ChildFile>,
}

impl<'a> Collector<'a> {
    fn of(package: &'a mut Package, module: usize) -> Self {
        Self {
            package,
            module,
            blocks: PathBuf::new(),
            missing: Vec::new(),
        }
    }

    fn items(mut self, items: &[Item]) -> Vec<ChildFile> {
        self.module_items(items);
        self.missing
    }

    fn module_items(&mut self, items: &[Item]) {
        for item in items.iter().filter(|item| !is_test(attributes(item))) {
            self.here().items.extend(defined(item));
            self.visit_item(item);
        }
    }

    fn here(&mut self) -> &mut Module {
        &mut self.package.modules[self.module]
    }

    fn mention(&mut self, path: Vec<String>, absolute: bool, span: Span) {
        let line = span.start().line;
        self.here().mentions.push(Mention {
            path,
            absolute,
            line,
        });
    }

    fn import(&mut self, tree: &UseTree, before: &[String], item: &syn::ItemUse) {
        let mut path = before.to_vec();
        let (name, span) = match tree {
            UseTree::Path(tree) => {
                path.push(tree.ident.to_string());
                return self.import(&tree.tree, &path, item);
            }
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.import(tree, before, item);
                }
                return;
            }
            UseTree::Glob(glob) => (None, glob.star_token.spans[0]),
            UseTree::Name(name) => {
                if name.ident != "self" {
                    path.push(name.ident.to_string());
                }
                (path.last().cloned(), name.ident.span())
            }
            UseTree::Rename(tree) => {
                if tree.ident != "self" {
                    path.push(tree.ident.to_string());
                }
                (Some(tree.rename.to_string()), tree.ident.span())
            }
        };
        let of = Mention {
            path,
            absolute: item.leading_colon.is_some(),
            line: span.start().line,
        };
        let reexport = !matches!(item.vis, Visibility::Inherited);
        self.here().imports.push(Import { name, of, reexport });
    }

    /// Paths of two names or more among a macro's arguments, which are not
    /// parsed: `a::b` in `format!("{}", a::b(c))`. A single name is imported or
    /// defined where it is used, which says enough.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<(String, Span)> = Vec::new();
        let mut colons = 0;
        let end = |path: &mut Vec<(String, Span)>, this: &mut Self| {
            if let [(_, span), _, ..] = path[..] {
                let names = path.iter().map(|(name, _)| name.clone()).collect();
                this.mention(names, false, span);
            }
            path.clear();
        };
        for token in tokens {
            match &token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        end(&mut path, self);
                    }
                    path.push((ident.to_string(), ident.span()));
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Group(group) => {
                    if group.delimiter() != Delimiter::None || colons != 2 {
                        end(&mut path, self);
                    }
                    colons = 0;
                    self.tokens(group.stream());
                }
                _ => {
                    end(&mut path, self);
                    colons = 0;
                }
            }
        }
        end(&mut path, self);
    }
}

impl<'ast> Visit<'ast> for Collector<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_test(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !is_test(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let name = item.ident.to_string();
        let Some((_, items)) = &item.content else {
            self.missing.push(ChildFile {
                parent: self.module,
                name,
                folder: self.blocks.clone(),
                given: given_path(&item.attrs),
            });
            return;
        };
        let outer = self.module;
        let Module { path, file, .. } = &self.package.modules[outer];
        let (path, file) = (
            [path.as_slice(), std::slice::from_ref(&name)].concat(),
            *file,
        );
        self.module = self.package.add(file, Some(outer), &path);
        let inner = self.module;
        self.package.modules[outer]
            .children
            .insert(name.clone(), inner);
        self.blocks.push(&name);
        self.module_items(items);
        self.blocks.pop();
        self.module = outer;
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.import(&item.tree, &[], item);
    }

    /// `pub(in path)` reads nothing.
    fn visit_vis_restricted(&mut self, _: &'ast syn::VisRestricted) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string());
        if let Some(first) = path.segments.first() {
            let absolute = path.leading_colon.is_some();
            self.mention(names.collect(), absolute, first.ident.span());
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        self.visit_path(&called.path);
        self.tokens(called.tokens.clone());
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        match &attribute.meta {
            Meta::List(list) => self.tokens(list.tokens.clone()),
            Meta::Path(_) => {}
            Meta::NameValue(pair) => self.visit_expr(&pair.value),
        }
    }
}

/// The name that an item defines in its module. `None` for modules and imports.
fn defined(item: &Item) -> Option<String> {
    let ident = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::TraitAlias(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(ident.to_string())
}
