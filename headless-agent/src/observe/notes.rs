//! The choices of the agent that limit its answers, each in a sentence. Nothing is wrong.

use super::Snapshot;
use crate::datapath::snapshot::ProgramState;
use crate::records::EndpointScope;

impl Snapshot {
    /// The choices that limit the answers at this moment.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.endpoints == EndpointScope::Headless {
            notes.push(
                "endpoints of Services with a cluster IP are not watched (--endpoints headless): \
                 the cluster's DNS answers for their names and for the reverse names of all \
                 endpoints"
                    .to_owned(),
            );
        }
        let interfaces = self.datapath.attachments.values();
        let lifted = interfaces
            .filter(|interface| interface.xdp == ProgramState::Lifted)
            .count();
        if lifted > 0 {
            notes.push(format!(
                "XDP is off {lifted} interfaces whose pods send much: tc answers there"
            ));
        }
        notes
    }
}
