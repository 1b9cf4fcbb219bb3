//! Objects as an API server renders them.

use std::collections::BTreeMap;

use axum::body::Bytes;
use serde_json::{Value, json};

/// Labels of an object, or parameters of a request.
pub(crate) type Labels = BTreeMap<String, String>;

/// Resource, namespace and name. Their order is the order of lists.
pub(super) type Key = (Resource, String, String);

/// The resources that are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Resource {
    Namespaces,
    Services,
    EndpointSlices,
}

impl Resource {
    pub(super) const ALL: [Self; 3] = [Self::Namespaces, Self::Services, Self::EndpointSlices];

    /// Name in a URL, kind, and API version.
    pub(super) const fn names(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Namespaces => ("namespaces", "Namespace", "v1"),
            Self::Services => ("services", "Service", "v1"),
            Self::EndpointSlices => ("endpointslices", "EndpointSlice", "discovery.k8s.io/v1"),
        }
    }

    /// The path of the resource's list in all namespaces.
    pub(crate) fn path(self) -> String {
        let (resource, _, version) = self.names();
        let root = if version == "v1" { "api" } else { "apis" };
        format!("/{root}/{version}/{resource}")
    }
}

/// An object to write.
#[derive(Debug)]
pub(crate) struct Object {
    resource: Resource,
    namespace: String,
    name: String,
    labels: Labels,
    /// All fields but `kind`, `apiVersion` and `metadata`.
    rest: Value,
}

impl Object {
    pub(crate) fn new(
        resource: Resource,
        namespace: &str,
        name: &str,
        labels: Labels,
        rest: Value,
    ) -> Self {
        Self {
            resource,
            namespace: namespace.into(),
            name: name.into(),
            labels,
            rest,
        }
    }

    /// Adds the metadata that an API server and the controllers add. Returns the
    /// object's key, labels and JSON.
    pub(super) fn render(self, version: u64) -> (Key, Labels, String) {
        let Self {
            resource,
            namespace,
            name,
            labels,
            rest: mut json,
        } = self;
        let (_, kind, api_version) = resource.names();
        json["kind"] = kind.into();
        json["apiVersion"] = api_version.into();
        json["metadata"] = json!({
            "name": name,
            "uid": format!("0f8fad5b-d9cb-469f-a165-{version:012x}"),
            "resourceVersion": version.to_string(),
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": labels,
        });
        let metadata = &mut json["metadata"];
        if resource != Resource::Namespaces {
            metadata["namespace"] = namespace.as_str().into();
        }
        if resource == Resource::EndpointSlices {
            metadata["generateName"] = format!("{name}-").into();
            metadata["generation"] = 1.into();
            metadata["annotations"] =
                json!({"endpoints.kubernetes.io/last-change-trigger-time": "2026-01-01T00:00:00Z"});
            metadata["ownerReferences"] = json!([{
                "apiVersion": "v1", "kind": "Service", "controller": true,
                "blockOwnerDeletion": true, "name": name,
                "uid": "7c9e6679-7425-40de-944b-e07fc1f90ae7",
            }]);
        }
        ((resource, namespace, name), labels, json.to_string())
    }
}

/// One event of a watch.
pub(super) fn line(event: &str, json: &str) -> Bytes {
    format!("{{\"type\":\"{event}\",\"object\":{json}}}\n").into()
}

/// The object in an event `ADDED`.
pub(super) fn object(line: &Bytes) -> Bytes {
    const START: usize = r#"{"type":"ADDED","object":"#.len();
    const END: usize = "}\n".len();
    line.slice(START..line.len() - END)
}
