//! From Kubernetes' objects to slim objects.
//!
//! A part of an object that cannot be used is left out and reported as a [`super::Problem`].
//! Where that part could change an answer, the slim object is marked `partial`, so that
//! we deny no name that CoreDNS may have. A whole object is left out only if CoreDNS
//! cannot find it by its name either.

mod checks;
mod network;
mod node;
mod read;
mod service;
mod slice;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

pub use self::checks::reference;
use self::checks::{Checks, is_found};
pub use self::network::{dns_service, network_policy, unreadable_policy};
pub use self::node::{node_namespace, node_pod};
pub use self::read::{
    ReadConditions, ReadDnsService, ReadEndpoint, ReadNamespace, ReadNetworkPolicy,
    ReadNodeNamespace, ReadNodePod, ReadPod, ReadPodStatus, ReadPort, ReadService, ReadServiceSpec,
    ReadSlice, ReadTarget, SERVICE_NAME_LABEL, labels, metadata,
};
pub use self::service::service;
pub use self::slice::endpoint_slice;
use super::{EndpointSlice, Kind, Namespace, Object, Pod, Problems, Reason, Service, ServiceKind};

/// The slim form of a Namespace. `None` where CoreDNS cannot find a Namespace of this name.
pub fn namespace(object: &ReadNamespace, problems: &mut Problems) -> Option<Namespace> {
    let reference = reference(Kind::Namespace, &object.metadata);
    let mut checks = Checks {
        object: &reference,
        problems,
    };
    checks.label("metadata.name", &reference.name);
    is_found(&reference.name).then(|| Namespace {
        name: reference.name.clone(),
    })
}

/// The slim form of a Pod. `None` where it has no name, or where CoreDNS cannot find a
/// Namespace of its namespace's name.
///
/// A pod that has finished or is lost has no address: CoreDNS's field selector leaves out
/// the phases Succeeded, Failed and Unknown (`plugin/kubernetes/controller.go`). So it does not
/// count as terminating either.
pub fn pod(object: &ReadPod, problems: &mut Problems) -> Option<Pod> {
    let reference = reference(Kind::Pod, &object.metadata);
    let mut checks = Checks {
        object: &reference,
        problems,
    };
    checks.label("metadata.namespace", &reference.namespace);
    if reference.name.is_empty() {
        checks.report("metadata.name", Reason::MissingField);
        return None;
    }
    if !is_found(&reference.namespace) {
        return None;
    }
    let status = &object.status;
    let phase = status.phase.as_deref();
    let over = phase.is_some_and(|phase| matches!(phase, "Succeeded" | "Failed" | "Unknown"));
    let text = status.pod_ip.as_deref();
    let text = text.filter(|text| !text.is_empty() && !over);
    Some(Pod {
        namespace: reference.namespace.clone(),
        name: reference.name.clone(),
        // CoreDNS parses the address in a question. So it never finds a pod whose
        // `podIP` is no address.
        address: text.and_then(|text| checks.address("status.podIP", text)),
        terminating: object.metadata.deletion_timestamp.is_some() && !over,
    })
}

/// The slim form of an object of which only the metadata could be read. `None` where the
/// metadata cannot be used, and for a Pod, which has no name in DNS without its address.
pub fn unreadable(kind: Kind, metadata: ObjectMeta) -> Option<Object> {
    let problems = &mut Problems::default();
    match kind {
        Kind::Namespace => {
            let object = ReadNamespace { metadata };
            namespace(&object, problems).map(Object::Namespace)
        }
        Kind::Service => {
            let object = ReadService {
                metadata,
                ..ReadService::default()
            };
            service(&object, problems).map(|service| {
                Object::Service(Service {
                    kind: ServiceKind::Unserved,
                    partial: true,
                    ..service
                })
            })
        }
        Kind::EndpointSlice => {
            let object = ReadSlice {
                metadata,
                ..ReadSlice::default()
            };
            let slice = endpoint_slice(&object, &super::Keep::default(), problems);
            slice.map(|slice| {
                Object::EndpointSlice(EndpointSlice {
                    partial: true,
                    ..slice
                })
            })
        }
        Kind::Pod | Kind::NetworkPolicy | Kind::ConfigMap => None,
    }
}

#[cfg(test)]
mod tests;
