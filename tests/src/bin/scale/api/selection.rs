//! The objects that a request selects.

use super::object::{Labels, Resource};

/// A resource, in one namespace or in all, with labels that a selector takes.
#[derive(Clone, Debug)]
pub(super) struct Selection {
    pub(super) resource: Resource,
    pub(super) namespace: Option<String>,
    /// Empty for all labels.
    pub(super) selector: String,
}

impl Selection {
    pub(super) fn takes(&self, resource: Resource, namespace: &str, labels: &Labels) -> bool {
        self.resource == resource
            && self.namespace.as_deref().is_none_or(|of| of == namespace)
            && selects(&self.selector, labels)
    }
}

/// Label selectors without sets (`labels.Parse` of k8s.io/apimachinery).
fn selects(selector: &str, labels: &Labels) -> bool {
    let mut terms = selector.split(',').filter(|term| !term.is_empty());
    terms.all(|term| {
        if let Some((key, value)) = term.split_once("!=") {
            labels.get(key).is_none_or(|is| is != value)
        } else if let Some((key, value)) = term.split_once('=') {
            let value = value.strip_prefix('=').unwrap_or(value);
            labels.get(key).is_some_and(|is| is == value)
        } else if let Some(key) = term.strip_prefix('!') {
            !labels.contains_key(key)
        } else {
            labels.contains_key(term)
        }
    })
}
