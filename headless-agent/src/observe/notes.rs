//! The choices of the agent that limit its answers, each in a sentence. Nothing is wrong.

use super::policy;
use super::snapshot::{Endpoints, Snapshot};
use crate::datapath::snapshot::ProgramState;
use crate::mirror;
use crate::records::EndpointScope;
use crate::watch::choice::Choice;

impl Endpoints {
    fn note(&self) -> Option<String> {
        let passes = "the cluster's DNS answers for names below Services with a cluster IP and for \
                      the reverse names of endpoints";
        match (self.scope, self.choice) {
            (EndpointScope::Headless, None) => Some(format!("--endpoints headless: {passes}")),
            (EndpointScope::Headless, Some(choice)) => {
                Some(format!("at the start, {choice}: {passes}"))
            }
            (EndpointScope::All, Some(Choice { slices_max, .. })) if self.slices > slices_max => {
                Some(format!(
                    "the cluster has grown to {} EndpointSlices, more than --endpoints-max \
                     {slices_max}: after its next start the agent watches only the endpoints of \
                     headless Services",
                    self.slices
                ))
            }
            (EndpointScope::All, _) => None,
        }
    }
}

impl mirror::Snapshot {
    /// Only addresses of `--listen` are served.
    fn note(&self) -> Option<String> {
        let service = self.without_address.as_ref()?;
        (self.synced() && !self.served.is_empty()).then(|| {
            format!(
                "the Service {service} (--cluster-dns-service) does not exist or has no \
                 address: only the addresses of --listen are answered"
            )
        })
    }
}

impl Snapshot {
    /// The choices that limit the answers at this moment.
    pub fn notes(&self) -> Vec<String> {
        let mut notes: Vec<_> = self.endpoints.note().into_iter().collect();
        notes.extend(self.vitals.mirror.note());
        let interfaces = self.datapath.attachments.values();
        let lifted = interfaces
            .filter(|interface| interface.xdp == ProgramState::Lifted)
            .count();
        if lifted > 0 {
            notes.push(format!(
                "XDP is off {lifted} interfaces whose pods send much: tc answers there"
            ));
        }
        notes.extend(policy::notes(&self.policy));
        notes.extend(self.standing.remarks.iter().cloned());
        notes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::ServiceRef;
    use crate::watch::choice::Uncounted;

    #[test]
    fn the_operator_hears_that_only_addresses_of_listen_are_served() {
        let mut shown = mirror::Snapshot {
            served: vec![[169, 254, 20, 10].into()],
            ..mirror::Snapshot::default()
        };
        assert_eq!(shown.note(), None);
        let (namespace, name) = ("kube-system".to_owned(), "kube-dns".to_owned());
        shown.without_address = Some(ServiceRef { namespace, name });
        let note = shown.note().unwrap_or_default();
        assert!(
            note.starts_with("the Service kube-system/kube-dns"),
            "{note}"
        );
        // The list is not complete yet.
        shown.missing = vec!["services"];
        assert_eq!(shown.note(), None);
    }

    #[test]
    fn the_operator_hears_which_endpoints_are_left_out_and_why() {
        let note = |scope, found: Option<Result<u64, Uncounted>>, slices| {
            let choice = found.map(|slices| Choice {
                slices,
                slices_max: 5,
            });
            let endpoints = Endpoints {
                scope,
                choice,
                slices,
            };
            endpoints.note().unwrap_or_default()
        };
        let (all, headless) = (EndpointScope::All, EndpointScope::Headless);
        assert_eq!(note(all, None, 9), "");
        assert_eq!(note(all, Some(Ok(5)), 5), "");
        let grown = note(all, Some(Ok(5)), 6);
        assert!(grown.contains("grown to 6") && grown.contains("--endpoints-max 5"));
        let asked = note(headless, None, 1);
        assert!(asked.starts_with("--endpoints headless: the cluster's DNS"));
        let large = note(headless, Some(Ok(6)), 1);
        assert!(large.contains("has 6 EndpointSlices, more than --endpoints-max 5"));
        let silent = note(headless, Some(Err(Uncounted::Untold)), 1);
        assert!(silent.contains("does not say how many"));
        let forbidden = note(headless, Some(Err(Uncounted::Forbidden)), 1);
        assert!(forbidden.contains("was not allowed to count"));
    }
}
