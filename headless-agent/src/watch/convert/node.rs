//! The slim forms of the objects that decide whether pods are answered.

use super::read::{ReadNodeNamespace, ReadNodePod};
use crate::watch::Excerpt;
use crate::watch::node::{NodeNamespace, NodePod};

/// The slim form of a pod. An address that is none is left out: the pod is then told apart by
/// the others, or not at all.
pub fn node_pod(object: &ReadNodePod) -> NodePod {
    let phase = object.phase.as_deref();
    let ended = matches!(phase, Some("Succeeded" | "Failed"));
    let addresses = object.addresses.iter().filter_map(|text| text.parse().ok());
    NodePod {
        mode: object.mode.as_deref().map(Excerpt::from),
        labels: object.labels.clone(),
        addresses: addresses.collect(),
        has_interface: !object.host_network && !ended,
    }
}

/// The slim form of a namespace, with its labels where it is that of the cluster's DNS.
pub fn node_namespace(object: &ReadNodeNamespace, is_of_dns: bool) -> NodeNamespace {
    let labels = object.labels.as_ref();
    NodeNamespace {
        mode: object.mode.as_deref().map(Excerpt::from),
        labels: labels.filter(|_| is_of_dns).cloned(),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::net::IpAddr;

    use serde_json::json;

    use super::*;
    use crate::watch::node::LABELS_BYTES_MAX;

    fn pod(value: &serde_json::Value) -> NodePod {
        node_pod(&serde_json::from_str(&value.to_string()).unwrap())
    }

    #[test]
    fn a_pod_has_its_annotation_labels_and_addresses() {
        let mut object = json!({
            "metadata": {
                "name": "web-0", "namespace": "default", "resourceVersion": "7",
                "annotations": { "a": "b", "headless.io/mode": "off" },
                "labels": { "app": "web" },
            },
            "spec": { "nodeName": "n", "containers": [] },
            "status": {
                "phase": "Running", "podIP": "10.0.0.1",
                "podIPs": [{ "ip": "10.0.0.1" }, { "ip": "fd00::1" }, { "ip": "x" }],
            },
        });
        let found = pod(&object);
        assert_eq!(found.mode.as_ref().unwrap().to_string(), "off");
        let labels = [("app".to_owned(), "web".to_owned())].into();
        assert_eq!(found.labels, Some(labels));
        let addresses = ["10.0.0.1", "fd00::1"].map(|text| text.parse::<IpAddr>().unwrap());
        assert_eq!(*found.addresses, addresses);
        assert!(found.has_interface);

        object["status"]["podIPs"] = json!(null);
        assert_eq!(*pod(&object).addresses, addresses[..1]);
        for phase in ["Succeeded", "Failed"] {
            object["status"]["phase"] = json!(phase);
            assert!(!pod(&object).has_interface, "{phase}");
        }
        object["status"] = json!({ "phase": "Pending" });
        assert!(pod(&object).has_interface && pod(&object).addresses.is_empty());
        object["spec"]["hostNetwork"] = json!(true);
        assert!(!pod(&object).has_interface);
    }

    #[test]
    fn what_is_missing_or_null_is_empty() {
        for object in [
            json!({}),
            json!({ "metadata": null, "spec": null, "status": null }),
            json!({ "metadata": { "labels": null, "annotations": null } }),
        ] {
            let found = pod(&object);
            assert_eq!(found.mode, None);
            assert_eq!(found.labels, Some([].into()));
            assert!(found.addresses.is_empty() && found.has_interface);
        }
    }

    #[test]
    fn labels_beyond_the_bound_are_not_known() {
        let labels = |number: usize| {
            let pairs = (0..number).map(|i| (format!("k{i:07}"), "v".repeat(8)));
            pairs.collect::<std::collections::BTreeMap<_, _>>()
        };
        let at_bound = LABELS_BYTES_MAX / 16;
        let object = |number| json!({ "metadata": { "labels": labels(number), "name": "a" } });
        let kept = pod(&object(at_bound)).labels;
        assert_eq!(kept.map(|it| it.len()), Some(at_bound));
        assert_eq!(pod(&object(at_bound + 1)).labels, None);
        assert_eq!(pod(&object(20 * at_bound)).labels, None);
    }
}
