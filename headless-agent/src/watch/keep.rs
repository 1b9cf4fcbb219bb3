//! The objects, and the parts of objects, that are kept.

use super::{EndpointSlice, Object, Problems, Service};
use crate::selector::{Labels, Selector};

/// Which objects and which optional parts of objects are kept.
#[derive(Clone, Debug, Default)]
pub struct Keep {
    /// Names of pods: an endpoint without a hostname is called by its pod's name, not by its
    /// address (CoreDNS's option `endpoint_pod_names`).
    pub pod_names: bool,
    /// The namespaces that are exposed (CoreDNS's option `namespace_labels`).
    pub namespaces: Selector,
    /// The Services, EndpointSlices and pods that are selected (CoreDNS's option `labels`).
    pub labels: Selector,
}

impl Keep {
    /// Leaves out a Namespace or a pod with labels that are not selected. A Service or an
    /// EndpointSlice with such labels stays, and says so: it may be the cluster's DNS. The faults
    /// of an object that is not selected are no problems.
    pub fn select(
        &self,
        object: Option<Object>,
        labels: Option<&Labels>,
        problems: &mut Problems,
    ) -> Option<Object> {
        let (none, object) = (Labels::new(), object?);
        let labels = labels.unwrap_or(&none);
        let selector = match &object {
            Object::Namespace(_) => &self.namespaces,
            Object::Service(_) | Object::EndpointSlice(_) | Object::Pod(_) => &self.labels,
        };
        if selector.matches(labels) {
            return Some(object);
        }
        *problems = Problems::default();
        match object {
            Object::Namespace(_) | Object::Pod(_) => None,
            Object::Service(service) => Some(Object::Service(Service {
                selected: false,
                ..service
            })),
            Object::EndpointSlice(slice) => Some(Object::EndpointSlice(EndpointSlice {
                selected: false,
                ..slice
            })),
        }
    }
}
