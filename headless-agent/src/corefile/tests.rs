//! Whole Corefiles.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod distributions;
mod fuzz;
mod hosts;
mod kubernetes;
mod plugins;
mod syntax;

use super::*;

/// The rules of a Corefile without imports.
fn rules(text: &str) -> Rules {
    read(text, &Files::default(), None)
}

/// The rules of a server block for everything, with the usual `kubernetes` and these plugins.
fn with(plugins: &str) -> Rules {
    rules(&format!(
        ".:53 {{\n kubernetes cluster.local in-addr.arpa ip6.arpa\n {plugins}\n}}\n"
    ))
}

/// The labels of the parts that are left to CoreDNS, and the names with a slash, in a row.
fn labels(rules: &Rules) -> String {
    let Left { parts, names } = rules.left();
    let names = names.iter().map(|name| format!("/{name}"));
    let labels = parts.iter().map(|part| part.label().to_owned());
    labels.chain(names).collect::<Vec<_>>().join(" ")
}
