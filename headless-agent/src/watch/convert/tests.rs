#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod service;
mod slice;

use serde_json::{Value, json};

use super::*;
use crate::watch::Excerpt;

/// The slim object, and its problems as text.
fn convert<T, U>(
    value: Value,
    convert: impl FnOnce(&T, &mut Problems) -> Option<U>,
) -> (Option<U>, Vec<String>)
where
    T: serde::de::DeserializeOwned,
{
    let mut problems = Problems::default();
    let object = serde_json::from_value(value).unwrap();
    let slim = convert(&object, &mut problems);
    (
        slim,
        problems.kept().iter().map(ToString::to_string).collect(),
    )
}

#[test]
fn pods_have_their_first_address_while_they_run() {
    let status = |phase: &str| json!({"phase": phase, "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]});
    for (phase, address) in [
        ("Running", true),
        ("Pending", true),
        ("Succeeded", false),
        ("Failed", false),
        ("Unknown", false),
    ] {
        let object = json!({"metadata": {"name": "a", "namespace": "b"}, "status": status(phase)});
        let (slim, problems) = convert(object, pod);
        assert!(problems.is_empty());
        assert_eq!(slim.unwrap().address.is_some(), address, "{phase}");
    }
    let metadata = json!({"name": "a", "deletionTimestamp": "9999-12-31T23:59:59Z"});
    for (phase, terminating) in [("Running", true), ("Pending", true), ("Failed", false)] {
        let object = json!({"metadata": metadata, "status": status(phase)});
        let (slim, _) = convert(object, pod);
        assert_eq!(slim.unwrap().terminating, terminating, "{phase}");
    }
    let object = json!({"metadata": {"name": "a"}, "status": {"podIP": "10.0.0"}});
    let (slim, problems) = convert(object, pod);
    assert_eq!(slim.unwrap().address, None);
    assert_eq!(
        problems,
        ["Pod default/a: status.podIP: `10.0.0` is not an IP address"]
    );
}

#[test]
fn every_reason_has_a_label_that_is_listed() {
    let text = || Excerpt::from("");
    let reasons = [
        Reason::InvalidAddress(text()),
        Reason::UnknownAddressType(text()),
        Reason::InvalidLabel(text()),
        Reason::LabelTooLong(0),
        Reason::NameTooLong(0),
        Reason::DuplicatePort(text()),
        Reason::InvalidPort(0),
        Reason::UnknownProtocol(text()),
        Reason::UnknownServiceType(text()),
        Reason::MissingClusterIp,
        Reason::ExternalNameIsAddress(text()),
        Reason::MissingServiceLabel,
        Reason::MissingService(text()),
        Reason::MissingNamespace(text()),
        Reason::TooManyEntries(1),
        Reason::MissingField,
        Reason::DuplicateObject(text()),
        Reason::UnsupportedVersion(text()),
        Reason::InvalidField(text()),
        Reason::Syntax(text()),
        Reason::Unreadable(text()),
        Reason::TooLarge(text()),
    ];
    assert_eq!(reasons.map(|reason| reason.label()), Reason::LABELS);
}
