//! Services with more entries than are merged.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::super::super::rules::{Forward, Question, Resolution, resolve};
use super::*;
use crate::records::Pointers;
use crate::watch::{Object, ObjectRef, ServiceKind};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// The objects that exist, by kind and name.
#[derive(Default)]
struct Objects(BTreeMap<(Kind, String), Event>);

impl Objects {
    /// A random event, which is applied to the objects.
    fn change(&mut self) -> Event {
        let name = NAMES[fastrand::usize(..NAMES.len())];
        let (path, event) = match fastrand::u8(..12) {
            0 => (
                (Kind::Namespace, "default".to_owned()),
                namespace("default"),
            ),
            1 | 2 => {
                let kind = ["None", "10.0.0.1", "10.0.0.2,fd00::1", "None"];
                let event = service("default", name, kind[fastrand::usize(..4)], WEB);
                ((Kind::Service, format!("default/{name}")), event)
            }
            _ => {
                let path = format!("default/s{}", fastrand::u8(..6));
                let endpoint = |_| {
                    let label = ["", "", "=x", "=y"][fastrand::usize(..4)];
                    format!("10.0.0.{}{label}", fastrand::u8(..12))
                };
                let endpoints: Vec<_> = (0..fastrand::u8(..9)).map(endpoint).collect();
                let endpoints: Vec<_> = endpoints.iter().map(String::as_str).collect();
                let event = slice(&path, name, WEB, &endpoints);
                ((Kind::EndpointSlice, path), event)
            }
        };
        if fastrand::u8(..3) == 0 && self.0.remove(&path).is_some() {
            return delete(path.0, &path.1);
        }
        self.0.insert(path, event.clone());
        event
    }

    /// An index that takes in the objects at once.
    fn fresh(&self) -> Index {
        let mut index = small();
        index.apply_all(self.0.values().cloned());
        index
    }

    /// The names to which the reverse name of an address leads; `None` where the index cannot
    /// know them.
    fn reverse(&self, address: IpAddr) -> Option<BTreeSet<String>> {
        let objects = self.0.values().filter_map(|event| match event {
            Event::Apply(object) => Some(object),
            _ => None,
        });
        let objects: Vec<_> = objects.collect();
        let mut owned = BTreeSet::new();
        let mut held = BTreeSet::new();
        let mut unknown = false;
        for name in NAMES {
            let mut entries = 0;
            let mut labels = BTreeSet::new();
            for object in &objects {
                match object {
                    Object::Service(service) if &*service.name == name => {
                        let own = matches!(&service.kind, ServiceKind::ClusterIp(own)
                            if own.contains(&address));
                        owned.extend(own.then(|| format!("{name}.default")));
                    }
                    Object::EndpointSlice(slice) if &*slice.service == name => {
                        entries += slice.entries();
                        let of_address = slice.endpoints.iter().filter(|at| at.address == address);
                        labels.extend(of_address.map(|endpoint| {
                            let label = service::EndpointLabel::of(endpoint);
                            format!("{label}.{name}.default")
                        }));
                    }
                    _ => {}
                }
            }
            unknown |= entries > ENTRIES && !labels.is_empty();
            held.extend(labels);
        }
        if !owned.is_empty() {
            return Some(owned);
        }
        (!unknown).then_some(held)
    }
}

const ENTRIES: usize = 12;

fn small() -> Index {
    let mut index = Index::new(all());
    index.entries_max = ENTRIES;
    index
}

fn addresses() -> impl Iterator<Item = IpAddr> {
    (0..12).map(|last| IpAddr::from([10, 0, 0, last]))
}

/// The Services to which addresses lead, by name.
fn leading(pointers: &Pointers) -> BTreeMap<IpAddr, String> {
    let addresses = pointers.addresses.iter();
    let named = addresses.filter_map(|(address, number)| {
        let name = pointers.services[&(*number)?].as_ref()?;
        Some((*address, name.to_string()))
    });
    named.collect()
}

/// The names of a reply to the question for a reverse name; `None` where CoreDNS has to answer.
fn asked(index: &Index, address: IpAddr) -> Option<BTreeSet<String>> {
    let IpAddr::V4(ipv4) = address else {
        return None;
    };
    let [a, b, c, d] = ipv4.octets();
    let question = Question {
        name: format!("{d}.{c}.{b}.{a}.in-addr.arpa.").parse().unwrap(),
        qtype: 12,
        qclass: 1,
    };
    match resolve(index, &question) {
        Resolution::Forward(Forward::ClusterDns) => None,
        Resolution::Forward(Forward::Upstream) => Some(BTreeSet::new()),
        Resolution::Answer(answer) => {
            let records = answer.answers.iter();
            let names = records.map(|record| record.data.to_string());
            let names = names.map(|name| name.replace(".svc.cluster.local.", ""));
            Some(names.collect())
        }
    }
}

#[test]
fn services_that_grow_and_shrink_answer_like_a_fresh_index() {
    let mut oversized = 0;
    for round in 0..120 {
        let (mut objects, mut index) = (Objects::default(), small());
        let mut names = BTreeMap::new();
        let mut leads = Pointers::default();
        for _ in 0..40 {
            let events: Vec<_> = (0..fastrand::u8(1..4)).map(|_| objects.change()).collect();
            // Steps of any size lead to the same state.
            let budget = [1, 7, usize::MAX][round % 3];
            let mut events = events.into_iter();
            let mut changes = Vec::new();
            while index.take(&mut events, budget) {}
            while index.settle(budget, Some(&mut changes)) {}
            check(&index, &mut names, &changes);
            while index.has_pointers() {
                let new = index.take_pointers_within(budget);
                leads.services.extend(new.services);
                let stays = |(at, _): &(IpAddr, _)| new.addresses.iter().all(|(new, _)| new != at);
                leads.addresses.retain(stays);
                leads.addresses.extend(new.addresses);
            }
            let fresh = objects.fresh();
            let of_fresh: BTreeMap<_, _> = fresh.names().collect();
            let plain = names.iter().map(|(name, data)| {
                let data = NameData {
                    details: None,
                    ..data.clone()
                };
                (name.clone(), data)
            });
            assert_eq!(plain.collect::<BTreeMap<_, _>>(), of_fresh);
            assert_eq!(leading(&leads), leading(&index.pointers()));
            assert_eq!(leading(&leads), leading(&fresh.pointers()));
            let counted = index
                .services
                .iter()
                .filter(|(_, at)| at.slices.counted().is_some());
            oversized += counted.count();
            for address in addresses() {
                let mut expected = objects.reverse(address);
                let found = asked(&index, address);
                if let (Some(names), Some(found)) = (&mut expected, &found)
                    && names.iter().all(|name| name.matches('.').count() == 1)
                    && names.len() > 1
                {
                    // As in CoreDNS, one of the Services with this cluster IP.
                    assert_eq!(found.len(), 1, "{address}");
                    names.retain(|name| found.contains(name));
                }
                assert_eq!(found, expected, "{address}");
                if let Some(to) = leading(&leads).get(&address) {
                    let expected = expected.unwrap();
                    assert_eq!(expected.len(), 1, "{address}");
                    assert!(
                        expected.iter().all(|name| name.ends_with(to)),
                        "{address} {to}"
                    );
                }
            }
        }
    }
    assert!(oversized > 400, "{oversized}");
}

#[test]
fn the_names_of_an_oversized_service_pass() {
    let mut index = Index::new(all());
    index.apply_all([
        namespace("default"),
        service("default", "web", "None", WEB),
        service("default", "api", "10.96.0.1", WEB),
    ]);
    index.apply_all(Kind::ALL.map(Event::Restarted));
    // Every slice has 1,026 entries, so the sixteenth is one too many.
    let part = |n: u32, service: &str| {
        let address = |i: u32| format!("10.{n}.{}.{}", i / 250, i % 250);
        let addresses: Vec<_> = (0..1024).map(address).collect();
        let addresses: Vec<_> = addresses.iter().map(String::as_str).collect();
        slice(&format!("default/{service}-{n}"), service, WEB, &addresses)
    };
    for service in ["web", "api"] {
        for n in 0..15 {
            index.apply(part(n, service));
        }
        let own = index
            .service("default", service)
            .unwrap()
            .state
            .own(EndpointScope::All);
        assert_eq!(own.unwrap().flags.0 & (PASS | UNKNOWN), 0);
        index.apply(part(15, service));
    }
    let own = index.name(b"\x03web\x07default").unwrap();
    assert_eq!(own.flags.0, PASS | UNKNOWN);
    let own = index.detailed(b"\x03api\x07default").unwrap();
    assert_eq!(own.flags.0, CLUSTER_IP | UNKNOWN);
    assert!(own.details.unwrap().own.is_some());
    assert_eq!(index.names().count(), 3, "no endpoint has a name");
    let problems: Vec<_> = index.problems().into_iter().map(|at| at.reason).collect();
    assert_eq!(
        problems,
        [
            Reason::TooManyEntries(16 * 1026),
            Reason::TooManyEntries(16 * 1026)
        ]
    );
    for service in ["web", "api"] {
        index.apply(delete(Kind::EndpointSlice, &format!("default/{service}-3")));
    }
    assert_eq!(index.names().count(), 3 + 2 * 15 * 1024);
    assert!(index.problems().is_empty());
}

/// While a slice finds no room, any address may be in it.
#[test]
fn no_reverse_name_of_an_endpoint_is_answered_while_a_slice_finds_no_room() {
    let mut index = small();
    index.kept_max = 40;
    index.apply_all([namespace("default"), service("default", "a", "None", WEB)]);
    index.apply_all(Kind::ALL.map(Event::Restarted));
    index.apply(slice("default/a-1", "a", WEB, &["192.0.2.1=x"]));
    index.apply(service("default", "own", "192.0.2.2", WEB));
    let part = |name: &str, net: u8| {
        let addresses: Vec<_> = (0..18).map(|i| format!("10.0.{net}.{i}")).collect();
        let addresses: Vec<_> = addresses.iter().map(String::as_str).collect();
        slice(&format!("default/{name}"), "b", WEB, &addresses)
    };
    let [endpoint, own] = [1, 2].map(|last| IpAddr::from([192, 0, 2, last]));
    let mut leads = BTreeMap::new();
    let mut told = |index: &mut Index, address| {
        leads.extend(index.take_pointers().addresses);
        assert!(leads[&own].is_some());
        assert_eq!(asked(index, own).unwrap().len(), 1);
        let answer = asked(index, address);
        assert_eq!(leads[&address].is_some(), answer.is_some());
        answer.is_some()
    };
    for event in [part("b-1", 1), part("b-2", 2)] {
        index.apply(event);
        assert!(told(&mut index, endpoint));
    }
    assert_eq!((index.kept, index.hidden), (40, 0));
    index.apply(service("default", "b", "None", WEB));
    index.apply(part("b-3", 3));
    assert_eq!(index.hidden, 1);
    assert!(!told(&mut index, endpoint));
    let problem = index.problems().pop().unwrap();
    assert_eq!(problem.reason, Reason::TooManyEntries(3 * 20));
    // Once a slice has found no room, half of the room must be free before answers come back.
    index.apply(delete(Kind::EndpointSlice, "default/b-3"));
    assert_eq!((index.kept, index.hidden), (40, 0));
    assert!(!told(&mut index, endpoint));
    index.apply(delete(Kind::EndpointSlice, "default/b-2"));
    assert!(told(&mut index, endpoint));
    // The hidden part goes while the Service is not oversized.
    index.apply(part("b-2", 2));
    index.apply(part("b-3", 3));
    for gone in ["default/b-1", "default/b-2"] {
        index.apply(delete(Kind::EndpointSlice, gone));
        assert!(!told(&mut index, endpoint));
    }
    assert_eq!(
        index.name(b"\x01b\x07default").unwrap().flags.0,
        PASS | UNKNOWN
    );
    index.apply(delete(Kind::EndpointSlice, "default/b-3"));
    assert!(told(&mut index, endpoint));
    assert_eq!((index.kept, index.hidden), (0, 0));
}

/// The cost of one change must not grow with the Service once it is oversized, nor with the
/// number of Services that have the same addresses.
#[test]
fn a_change_of_an_oversized_service_costs_as_much_as_the_slice() {
    let mut index = Index::new(all());
    index.apply(namespace("default"));
    index.apply(service("default", "web", "None", WEB));
    let part = |n: u32, last: u32| {
        let address = |i: u32| format!("10.{}.{i}.{last}", n % 200);
        let addresses: Vec<_> = (0..100).map(address).collect();
        let addresses: Vec<_> = addresses.iter().map(String::as_str).collect();
        slice(&format!("default/web-{n}"), "web", WEB, &addresses)
    };
    let mut cost = |n, last| {
        let before = index.work();
        index.apply(part(n, last));
        index.take_pointers();
        index.work() - before
    };
    for n in 0..162 {
        assert!(cost(n, 1) < 4 * 16_384);
    }
    for n in 162..1000 {
        assert!(cost(n, 1) < 1000, "{n}");
    }
    for n in 0..1000 {
        assert!(cost(n, 2) < 1000, "{n}");
    }
}

/// Names of a list are not denied before they are all there.
#[test]
fn a_list_is_complete_once_its_names_are() {
    let mut index = Index::new(settings());
    let mut events = nginx().into_iter().chain(Kind::ALL.map(Event::Restarted));
    while index.take(&mut events, 1) {}
    assert!(index.is_unsettled() && !index.synced());
    assert!(index.name(b"\x05nginx\x07default").is_none());
    while index.settle(1, None) {
        assert!(!index.synced());
    }
    assert!(index.synced());
    assert!(index.name(b"\x05nginx\x07default").is_some());
    let gone = ObjectRef {
        kind: Kind::Service,
        namespace: "default".into(),
        name: "nginx".into(),
    };
    // Objects that are missing from a list go one by one.
    let mut events = [
        Event::Restart(Kind::Service),
        Event::Restarted(Kind::Service),
    ]
    .into_iter();
    assert!(index.take(&mut events, 1));
    while index.take(&mut events, 1) {}
    while index.settle(1, None) {}
    assert!(index.name(b"\x05nginx\x07default").is_none());
    assert!(index.apply(Event::Delete(gone)).is_empty());
}
