//! The modes of the node's interfaces: which pod each belongs to, and what holds until that is
//! known.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::Mode;
use super::pods::{Cause, DecidedPod, Decision};

/// The mode of an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignment {
    /// The mode.
    pub mode: Mode,
    /// Why the interface has this mode.
    pub cause: Cause,
    /// `NAMESPACE/NAME` of the pod; `None` where it is not known.
    pub pod: Option<String>,
}

/// The modes of all interfaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignments {
    /// By index of the interface.
    pub interfaces: BTreeMap<u32, Assignment>,
    /// Pods that have addresses and whose mode is not that of unknown interfaces, but whose
    /// interface is not known.
    pub untold: Vec<String>,
}

/// Decides about interfaces. `places` has the interfaces behind which an address is. `interfaces`
/// has every interface that may be a pod's, by its index, and whether it is new.
///
/// - An interface of one known pod has the pod's mode, one of several pods the strictest of their
///   modes. A pod can make itself look like the neighbour that another pod is, so that its own
///   mode still holds for it.
/// - A pod whose addresses are behind several interfaces may be behind each of them, so its mode
///   holds on all. A mode that is less strict than the fallback needs exactly one interface.
/// - While a pod whose mode is stricter than the fallback has no known interface, it may be
///   behind any unknown one. New interfaces are then as strict as this pod. An interface that is
///   not new any more would have had its pod's address, so the fallback holds.
pub fn assign(
    decision: &Decision,
    places: &BTreeMap<IpAddr, BTreeSet<u32>>,
    interfaces: &BTreeMap<u32, bool>,
) -> Assignments {
    let mut assignments = Assignments::default();
    let mut expected = decision.fallback;
    for pod in &decision.pods {
        let places = places_of(pod, places);
        let mode = match places.len() {
            0 | 1 => pod.mode,
            _ => pod.mode.max(decision.fallback),
        };
        let known: Vec<_> = places
            .into_iter()
            .filter(|index| interfaces.contains_key(index))
            .collect();
        if known.is_empty() {
            expected = expected.max(pod.mode);
        }
        let holds = !known.is_empty() && mode == pod.mode;
        if !holds && pod.mode != decision.fallback && !pod.addresses.is_empty() {
            assignments.untold.push(pod.pod.clone());
        }
        for index in known {
            let found = Assignment {
                mode,
                cause: pod.cause,
                pod: Some(pod.pod.clone()),
            };
            let held = assignments.interfaces.remove(&index);
            let held = held.map_or(found.clone(), |held| stricter(held, found));
            assignments.interfaces.insert(index, held);
        }
    }
    for (index, is_new) in interfaces {
        let held = assignments.interfaces.entry(*index);
        held.or_insert_with(|| {
            let is_held = *is_new && expected != decision.fallback;
            Assignment {
                mode: if is_held { expected } else { decision.fallback },
                cause: if is_held {
                    Cause::NewInterface
                } else if decision.respects_policies {
                    Cause::UnknownPod
                } else {
                    Cause::Node
                },
                pod: None,
            }
        });
    }
    assignments
}

/// The interfaces behind which the addresses of a pod are.
fn places_of(pod: &DecidedPod, places: &BTreeMap<IpAddr, BTreeSet<u32>>) -> BTreeSet<u32> {
    let places = pod.addresses.iter().filter_map(|it| places.get(it));
    places.flatten().copied().collect()
}

fn stricter(one: Assignment, other: Assignment) -> Assignment {
    let mode = one.mode.max(other.mode);
    Assignment {
        cause: Cause::SeveralPods,
        ..if one.mode == mode { one } else { other }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    const OLD: bool = false;
    const NEW: bool = true;

    fn pod(number: u8, mode: Mode, addresses: &[&str]) -> DecidedPod {
        DecidedPod {
            pod: format!("default/p{number}"),
            mode,
            cause: if mode == Mode::On {
                Cause::Node
            } else {
                Cause::PodAnnotation
            },
            addresses: addresses.iter().map(|it| it.parse().unwrap()).collect(),
        }
    }

    /// The modes of the interfaces, with their causes, and the number of untold pods.
    fn run(
        fallback: Mode,
        pods: &[DecidedPod],
        places: &[(&str, &[u32])],
        interfaces: &[(u32, bool)],
    ) -> (Vec<(u32, Mode, Cause)>, usize) {
        let decision = Decision {
            settled: true,
            watched: true,
            fallback,
            pods: pods.to_vec(),
            ..Decision::default()
        };
        let places = places.iter();
        let places = places.map(|(address, indices)| {
            let indices = indices.iter().copied().collect();
            (address.parse().unwrap(), indices)
        });
        let interfaces = interfaces.iter().copied().collect();
        let Assignments { interfaces, untold } = assign(&decision, &places.collect(), &interfaces);
        let found = interfaces.into_iter();
        let found = found
            .map(|(index, it)| (index, it.mode, it.cause))
            .collect();
        (found, untold.len())
    }

    use Cause::{NewInterface, Node, PodAnnotation, SeveralPods};
    use Mode::{Observe, Off, On};

    #[test]
    fn an_interface_has_the_mode_of_its_pod() {
        let pods = [
            pod(1, Off, &["10.0.0.1", "fd00::1"]),
            pod(2, On, &["10.0.0.2"]),
            pod(3, Observe, &["fd00::3"]),
        ];
        let places: [(&str, &[u32]); 4] = [
            ("10.0.0.1", &[7]),
            ("fd00::1", &[7]),
            ("10.0.0.2", &[8]),
            ("fd00::3", &[9]),
        ];
        let interfaces = [(7, NEW), (8, OLD), (9, OLD), (10, NEW)];
        let expected = vec![
            (7, Off, PodAnnotation),
            (8, On, Node),
            (9, Observe, PodAnnotation),
            (10, On, Node),
        ];
        assert_eq!(run(On, &pods, &places, &interfaces), (expected, 0));
    }

    #[test]
    fn a_new_interface_waits_for_a_stricter_pod_without_a_known_interface() {
        let none: [(&str, &[u32]); 0] = [];
        let interfaces = [(7, NEW), (8, OLD)];
        let waiting = |mode| vec![(7, mode, NewInterface), (8, On, Node)];
        // The pod is on its way, and has no address yet: that is nothing to tell.
        for mode in [Observe, Off] {
            let pods = [pod(1, mode, &[])];
            assert_eq!(run(On, &pods, &none, &interfaces), (waiting(mode), 0));
        }
        // It has an address, but nobody knows where.
        let pods = [pod(1, Off, &["10.0.0.1"]), pod(2, Observe, &[])];
        assert_eq!(run(On, &pods, &none, &interfaces), (waiting(Off), 1));
        // Pods that are as strict as the fallback, or less, let nobody wait.
        let pods = [pod(1, On, &[]), pod(2, Observe, &["10.0.0.2"])];
        let unknown = vec![(7, Observe, Node), (8, Observe, Node)];
        assert_eq!(run(Observe, &pods, &none, &interfaces), (unknown, 0));
    }

    #[test]
    fn the_mode_holds_on_every_interface_of_an_address() {
        let pods = [pod(1, Off, &["10.0.0.1"])];
        let interfaces = [(7, OLD), (8, OLD), (9, OLD)];
        let both = vec![
            (7, Off, PodAnnotation),
            (8, Off, PodAnnotation),
            (9, On, Node),
        ];
        let found = run(On, &pods, &[("10.0.0.1", &[7, 8])], &interfaces);
        assert_eq!(found, (both.clone(), 0));
        // So it does where one of two addresses is claimed by another pod.
        let two = [pod(1, Off, &["10.0.0.1", "fd00::1"])];
        let places: [(&str, &[u32]); 2] = [("10.0.0.1", &[7]), ("fd00::1", &[8])];
        assert_eq!(run(On, &two, &places, &interfaces), (both, 0));
        // An interface that gets no programs tells nothing.
        let neither = vec![(7, On, Node), (8, On, Node), (9, On, Node)];
        let found = run(On, &pods, &[("10.0.0.1", &[10])], &interfaces);
        assert_eq!(found, (neither, 1));
    }

    #[test]
    fn a_mode_less_strict_than_the_fallback_needs_one_interface() {
        let pods = [pod(1, On, &["10.0.0.1"])];
        let interfaces = [(7, OLD), (8, OLD)];
        let one = vec![(7, On, Node), (8, Off, Node)];
        let found = run(Off, &pods, &[("10.0.0.1", &[7])], &interfaces);
        assert_eq!(found, (one, 0));
        // The pod on 8 claims the address of the pod on 7, which is answered.
        for claimed in [&[7, 8][..], &[7, 9]] {
            let (found, untold) = run(Off, &pods, &[("10.0.0.1", claimed)], &interfaces);
            assert!(found.iter().all(|(_, mode, _)| *mode == Off), "{found:?}");
            assert_eq!(untold, 1, "the pod's own mode does not hold");
        }
    }

    #[test]
    fn an_interface_of_several_pods_has_the_strictest_mode() {
        for modes in [[On, Off], [Off, On], [Observe, Off]] {
            let pods = [
                pod(1, modes[0], &["10.0.0.1"]),
                pod(2, modes[1], &["10.0.0.2"]),
            ];
            let places: [(&str, &[u32]); 2] = [("10.0.0.1", &[7]), ("10.0.0.2", &[7])];
            let found = run(On, &pods, &places, &[(7, OLD)]);
            assert_eq!(found, (vec![(7, Off, SeveralPods)], 0), "{modes:?}");
        }
    }

    #[test]
    fn a_pod_may_be_answered_on_a_node_that_answers_nobody_else() {
        let pods = [pod(1, On, &["10.0.0.1"]), pod(2, On, &["10.0.0.2"])];
        let found = run(Off, &pods, &[("10.0.0.1", &[7])], &[(7, NEW), (8, NEW)]);
        assert_eq!(found, (vec![(7, On, Node), (8, Off, Node)], 1));
    }
}
