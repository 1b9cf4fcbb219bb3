//! Finds out which version of a name a reply has.

use std::collections::HashMap;

use headless_agent::records::{NameData, TargetSet, Targets};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{RData, Record};

use crate::names::Name;

/// How often readers had each answer, by number and version of the name. The version is
/// `None` for NXDOMAIN.
pub(crate) type Answers = HashMap<(u32, Option<u32>), u64>;

/// The version that the reply has as a whole, without any other record. `None` for NXDOMAIN.
pub(crate) fn version_of(name: &Name, reply: &Message) -> Option<u32> {
    if reply.metadata.response_code == ResponseCode::NXDomain {
        return None;
    }
    let records = texts(&reply.answers);
    let glue = texts(&reply.additionals);
    let is_whole = |data: &NameData| {
        let (answers, additionals) = match &data.details {
            Some(details) => {
                let targets = details.endpoints.as_ref().unwrap();
                srv_records(name.number, data, targets)
            }
            None => (
                data.ipv4.iter().map(ToString::to_string).collect(),
                Vec::new(),
            ),
        };
        (sorted(answers), sorted(additionals)) == (records.clone(), glue.clone())
    };
    let version = name.versions.iter().position(is_whole);
    let version = version.unwrap_or_else(|| panic!("no version of s{}: {reply}", name.number));
    Some(version as u32)
}

fn sorted(mut texts: Vec<String>) -> Vec<String> {
    texts.sort_unstable();
    texts
}

/// The RDATA of records as text, sorted.
fn texts(records: &[Record]) -> Vec<String> {
    let text = |record: &Record| match &record.data {
        RData::A(address) => address.to_string(),
        RData::SRV(srv) => format!("{} {}", srv.port, srv.target),
        other => panic!("{other:?}"),
    };
    sorted(records.iter().map(text).collect())
}

/// The SRV records of targets with one port, and the addresses of the targets.
fn srv_records(name: u32, data: &NameData, targets: &Targets) -> (Vec<String>, Vec<String>) {
    let port = targets.ports[0].port.as_ref().unwrap().number.unwrap();
    let target = |label: &str, address: String| {
        let owner = format!("{label}.s{name}.default.svc.cluster.local.");
        (format!("{port} {owner}"), address)
    };
    match &targets.targets {
        TargetSet::Each(each) => each
            .iter()
            .map(|at| target(at.label.as_deref().unwrap(), at.addresses[0].to_string()))
            .unzip(),
        TargetSet::Addresses => data
            .ipv4
            .iter()
            .map(|at| target(&at.to_string().replace('.', "-"), at.to_string()))
            .unzip(),
    }
}
