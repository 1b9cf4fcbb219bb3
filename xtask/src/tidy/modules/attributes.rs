//! Attributes of items: which items belong to tests, and where a module's file is.

use syn::punctuated::Punctuated;
use syn::{Attribute, Item, Meta, Token};

/// The path in `#[path = ".."]`.
pub(super) fn given_path(attributes: &[Attribute]) -> Option<String> {
    attributes
        .iter()
        .find_map(|attribute| match &attribute.meta {
            Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
                syn::Expr::Lit(syn::ExprLit {
                    lit: syn::Lit::Str(text),
                    ..
                }) => Some(text.value()),
                _ => None,
            },
            _ => None,
        })
}

/// Whether the attributes make an item part of tests alone.
pub(super) fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let path = attribute.path();
        if path.is_ident("cfg") {
            let condition = attribute.parse_args::<Meta>();
            return condition.is_ok_and(|condition| without_tests(&condition) == Some(false));
        }
        path.segments
            .last()
            .is_some_and(|last| last.ident == "test")
    })
}

/// The value of a `cfg` condition if `test` is not set. `None` where the value depends on
/// other conditions.
fn without_tests(condition: &Meta) -> Option<bool> {
    match condition {
        Meta::Path(path) => path.is_ident("test").then_some(false),
        Meta::NameValue(_) => None,
        Meta::List(list) => {
            let parser = Punctuated::<Meta, Token![,]>::parse_terminated;
            let parts = list.parse_args_with(parser).ok()?;
            let mut parts = parts.iter().map(without_tests);
            if list.path.is_ident("not") {
                parts.next()?.map(|is| !is)
            } else if list.path.is_ident("all") {
                parts.any(|part| part == Some(false)).then_some(false)
            } else {
                parts.all(|part| part == Some(false)).then_some(false)
            }
        }
    }
}

/// The attributes of an item.
pub(super) fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
