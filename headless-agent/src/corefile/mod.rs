//! The Corefile of the cluster's DNS: which answers of CoreDNS the programs can give as well.
//!
//! The programs answer on the pods' interfaces, before CoreDNS sees a question. So an answer is
//! right only if CoreDNS would give the same one, and its Corefile decides about that. `parse`
//! groups the words of a Corefile by server block and plugin, as CoreDNS does. `classify` looks
//! at the plugins of the block that serves the zone, and says which of their options the agent
//! takes over and which [`Part`]s of the questions it leaves to CoreDNS. All of it is pure.

mod address;
mod change;
mod classify;
mod exposure;
mod files;
mod left;
mod lex;
mod parse;
mod parts;
mod plugins;
mod restart;
mod rules;
pub mod standing;
mod token;

pub use self::change::Transition;
pub use self::exposure::{Exposure, Namespaces};
pub use self::files::{Files, Folder};
pub use self::left::Left;
pub use self::plugins::{PLUGINS, Plugin, Role};
pub use self::restart::{FRESH, Replacement, Uids};
pub use self::rules::{Cache, Clamp, Finding, Options, Part, Parts, Reload, Rules};
pub use self::token::{BYTES_MAX, PATH, Place, SyntaxError};

/// Reads a Corefile: `text` with the files that it may import. `zone` is the zone that the
/// operator has chosen; without one, the first zone of the first `kubernetes` plugin counts.
///
/// A Corefile that cannot be parsed leaves every part to CoreDNS, because a guess could be wrong.
pub fn read(text: &str, files: &Files, zone: Option<&str>) -> Rules {
    match parse::parse(text, files) {
        Ok(blocks) => classify::classify(&blocks, files, zone),
        Err(error) => Rules {
            unread: error.is_unread.then(|| error.reason.clone()),
            ..Rules::unknown(Finding {
                left: Left::ALL,
                place: Some(error.place.clone()),
                text: format!("the Corefile cannot be parsed: {error}"),
            })
        },
    }
}

#[cfg(test)]
mod tests;
