//! Server blocks with their addresses, and the rules as they come about.

use super::super::address::Address;
use super::super::files::Files;
use super::super::left::Left;
use super::super::parse::ServerBlock;
use super::super::rules::{Finding, Options, Rules};
use super::super::token::{SyntaxError, Token};
use super::names::Scope;

/// Why a plugin cannot be read: the word, and the reason.
pub(super) type PluginError = SyntaxError;

/// A server block with its parsed addresses.
pub(super) struct Addressed<'a> {
    pub(super) block: &'a ServerBlock,
    pub(super) addresses: Vec<(&'a Token, Address)>,
}

impl Addressed<'_> {
    /// The zones of the block, which plugins without zones take over.
    pub(super) fn zones(&self) -> Vec<String> {
        let zones = self.addresses.iter().flat_map(|(_, it)| &it.zones);
        zones.cloned().collect()
    }
}

pub(super) fn addresses(blocks: &[ServerBlock]) -> Result<Vec<Addressed<'_>>, PluginError> {
    blocks.iter().map(addressed).collect()
}

fn addressed(block: &ServerBlock) -> Result<Addressed<'_>, PluginError> {
    let mut addresses = Vec::new();
    for key in &block.keys {
        let address = Address::parse(&key.text);
        let address = address.ok_or_else(|| key.error("this is no address of a server"))?;
        addresses.push((key, address));
    }
    Ok(Addressed { block, addresses })
}

/// The rules as they come about.
pub(super) struct Classifier<'a> {
    pub(super) scope: Scope,
    pub(super) files: &'a Files,
    pub(super) rules: Rules,
    /// Whether a plugin answers some questions of other classes than IN in its own way.
    pub(super) has_classes: bool,
}

impl Classifier<'_> {
    /// Adds a line.
    pub(super) fn find(&mut self, left: impl Into<Left>, at: &Token, text: impl Into<String>) {
        self.rules.findings.push(Finding {
            left: left.into(),
            place: Some(at.place.clone()),
            text: text.into(),
        });
    }

    /// The options that the agent takes over.
    pub(super) fn options(&mut self) -> &mut Options {
        let zone = &self.scope.zone;
        let options = &mut self.rules.options;
        options.get_or_insert_with(|| Options::new(zone.clone()))
    }
}
