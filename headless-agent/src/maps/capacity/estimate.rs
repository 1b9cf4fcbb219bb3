//! Estimates how many entries a cluster needs in the maps, from samples of its objects.

use std::collections::BTreeSet;

use super::counts::EntryCounts;
use crate::records::{Index, Settings};
use crate::watch::sample::{Sample, Total};
use crate::watch::{Event, Namespace, Object, Service, ServiceKind};

impl EntryCounts {
    /// Estimates the counts of a cluster from samples, one for each watch. The samples of
    /// Namespaces and Services come before the samples of slices and pods.
    ///
    /// The estimate takes each object that was not sampled for an average one of the sample.
    /// A server lists objects in the order of namespaces and names. So the first page may
    /// mislead if the namespaces differ much.
    pub fn estimated(samples: Vec<Sample>, settings: &Settings) -> Self {
        let mut index = Index::new(settings.clone());
        let mut known = Known::default();
        let mut total = Self::default();
        for sample in samples {
            known.take(&sample);
            let (read, all) = (sample.read, known.total(&sample));
            index.apply_all(known.missing(&sample.objects));
            let before = Self::of(&index);
            index.apply_all(sample.objects.into_iter().map(Event::Apply));
            let needed = Self::of(&index).combined(before, u64::saturating_sub);
            total = total.combined(needed.extrapolated(read, all), u64::saturating_add);
        }
        total
    }
}

/// Facts about the cluster from the samples so far.
#[derive(Debug, Default)]
struct Known {
    /// Names of Namespaces that the index has.
    namespaces: BTreeSet<Box<str>>,
    /// Namespaces and names of Services that the index has.
    services: BTreeSet<(Box<str>, Box<str>)>,
    /// Number of Services in the sample.
    services_read: u64,
    /// Number of headless Services in the sample.
    headless_read: u64,
    /// Number of Services in the cluster.
    services_total: u64,
}

impl Known {
    /// Notes the Namespaces and Services of a sample.
    fn take(&mut self, sample: &Sample) {
        for object in &sample.objects {
            match object {
                Object::Namespace(namespace) => {
                    self.namespaces.insert(namespace.name.clone());
                }
                Object::Service(service) => {
                    let key = (service.namespace.clone(), service.name.clone());
                    self.services.insert(key);
                    self.headless_read += u64::from(service.kind == ServiceKind::Headless);
                    self.services_read = sample.read;
                    let (Total::Exactly(total) | Total::AtMost(total)) = sample.total;
                    self.services_total = total;
                }
                Object::EndpointSlice(_) | Object::Pod(_) => {}
            }
        }
    }

    /// Number of objects that the watch of this sample will list.
    ///
    /// A server does not count the objects that a selector chooses. If the watch selects
    /// the slices of headless Services, the server reports the number of all slices, which
    /// may be many times larger. The number of selected slices is then estimated: the number
    /// of Services, times the share of headless Services in their sample, times the slices
    /// of a headless Service in this sample.
    fn total(&self, sample: &Sample) -> u64 {
        let most = match sample.total {
            Total::Exactly(total) => return total,
            Total::AtMost(most) => most,
        };
        let owners: BTreeSet<_> = sample.objects.iter().filter_map(owner).collect();
        if !sample.headless || self.headless_read == 0 || owners.is_empty() {
            return most;
        }
        let headless = self.headless_read * self.services_total / self.services_read.max(1);
        let slices = (headless * sample.read).div_ceil(owners.len() as u64);
        slices.clamp(sample.read.min(most), most)
    }

    /// Events for the Namespaces of objects and for the Services of slices, if no sample has
    /// them. Without Namespace and Service the index would have no names for the objects.
    /// A Service that no sample has is taken for a headless one.
    fn missing(&mut self, objects: &[Object]) -> Vec<Event> {
        let mut events = Vec::new();
        for object in objects {
            let namespace = object.reference().namespace;
            if !namespace.is_empty() && self.namespaces.insert(namespace.clone()) {
                let namespace = Namespace { name: namespace };
                events.push(Event::Apply(Object::Namespace(namespace)));
            }
            let Some((namespace, name)) = owner(object) else {
                continue;
            };
            let key = (namespace.into(), name.into());
            if !name.is_empty() && self.services.insert(key) {
                let service = Service {
                    namespace: namespace.into(),
                    name: name.into(),
                    kind: ServiceKind::Headless,
                    ports: Box::default(),
                    selector: true,
                    partial: false,
                    selected: true,
                };
                events.push(Event::Apply(Object::Service(service)));
            }
        }
        events
    }
}

/// Namespace and name of the Service to which a slice belongs.
fn owner(object: &Object) -> Option<(&str, &str)> {
    match object {
        Object::EndpointSlice(slice) => Some((&slice.namespace, &slice.service)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::net::{IpAddr, Ipv4Addr};

    use hickory_proto::rr::Name;

    use super::*;
    use crate::records::EndpointScope;
    use crate::watch::{Endpoint, EndpointSlice, Pod};

    fn settings(endpoints: EndpointScope) -> Settings {
        Settings {
            endpoints,
            ..Settings::new(Name::from_ascii("cluster.local.").unwrap())
        }
    }

    fn namespace(i: u32) -> Object {
        let name = format!("n{i:04}").into();
        Object::Namespace(Namespace { name })
    }

    /// A Service. Every fifth is headless.
    fn service(i: u32) -> Object {
        let address = IpAddr::from(Ipv4Addr::from_bits(0x0a60_0000 + i));
        Object::Service(Service {
            namespace: format!("n{:04}", i / 10).into(),
            name: format!("s{i:05}").into(),
            kind: if i.is_multiple_of(5) {
                ServiceKind::Headless
            } else {
                ServiceKind::ClusterIp(Box::new([address]))
            },
            ports: Box::default(),
            selector: true,
            partial: false,
            selected: true,
        })
    }

    /// A slice of three endpoints for Service `i`. One endpoint has a hostname.
    fn slice(i: u32) -> Object {
        let endpoint = |e: u32| Endpoint {
            address: IpAddr::from(Ipv4Addr::from_bits(0x0a00_0000 + 3 * i + e)),
            name: (e == 0).then(|| "first".into()),
        };
        Object::EndpointSlice(EndpointSlice {
            namespace: format!("n{:04}", i / 10).into(),
            name: format!("s{i:05}-abcde").into(),
            service: format!("s{i:05}").into(),
            ports: Box::default(),
            endpoints: (0..3).map(endpoint).collect(),
            aliases: Box::default(),
            partial: false,
            selected: true,
        })
    }

    fn sample(objects: impl IntoIterator<Item = Object>, total: Total) -> Sample {
        let objects: Vec<_> = objects.into_iter().collect();
        Sample {
            read: objects.len() as u64,
            objects,
            total,
            headless: false,
        }
    }

    fn whole(objects: impl IntoIterator<Item = Object>) -> Sample {
        let sample = sample(objects, Total::Exactly(0));
        Sample {
            total: Total::Exactly(sample.read),
            ..sample
        }
    }

    /// The objects of a cluster with this many Services, and its true counts.
    fn cluster(services: u32, scope: EndpointScope) -> ([Vec<Object>; 3], EntryCounts) {
        let headless = (0..services).filter(|i| scope == EndpointScope::All || i % 5 == 0);
        let objects = [
            (0..services / 10).map(namespace).collect(),
            (0..services).map(service).collect(),
            headless.map(slice).collect(),
        ];
        let mut index = Index::new(settings(scope));
        let all = objects.iter().flatten().cloned();
        index.apply_all(all.map(Event::Apply));
        (objects, EntryCounts::of(&index))
    }

    /// Whether each estimated count is at least the exact count and at most `times` as large.
    fn within(estimate: EntryCounts, exact: EntryCounts, times: u64) -> bool {
        let over = |estimate: u64, exact: u64| estimate.saturating_sub(exact * times);
        let nothing = |counts: EntryCounts| counts == EntryCounts::default();
        nothing(exact.combined(estimate, u64::saturating_sub))
            && nothing(estimate.combined(exact, over))
    }

    #[test]
    fn whole_lists_give_the_exact_counts() {
        for scope in [EndpointScope::Headless, EndpointScope::All] {
            let (objects, exact) = cluster(200, scope);
            let samples = objects.map(whole).into();
            assert_eq!(EntryCounts::estimated(samples, &settings(scope)), exact);
        }
        assert_eq!(
            EntryCounts::estimated(Vec::new(), &settings(EndpointScope::All)),
            EntryCounts::default()
        );
    }

    /// Samples as an API server gives them: the first page of each list.
    fn pages(objects: [Vec<Object>; 3], page: usize, counted: bool) -> Vec<Sample> {
        let [namespaces, services, slices] = objects;
        let all = services.len() as u64;
        let page = |objects: Vec<Object>| {
            let total = Total::Exactly(objects.len() as u64);
            sample(objects.into_iter().take(page), total)
        };
        let mut samples = vec![page(namespaces), page(services), page(slices)];
        if !counted {
            samples[2].headless = true;
            samples[2].total = Total::AtMost(all);
        }
        samples
    }

    #[test]
    fn a_page_stands_for_the_cluster() {
        let (objects, exact) = cluster(3000, EndpointScope::All);
        let estimate =
            EntryCounts::estimated(pages(objects, 100, true), &settings(EndpointScope::All));
        assert!(within(estimate, exact, 1), "{estimate:?} {exact:?}");
    }

    /// The server reports 3000 slices, of which 600 belong to headless Services.
    #[test]
    fn the_number_of_selected_slices_is_estimated() {
        let scope = EndpointScope::Headless;
        let (objects, exact) = cluster(3000, scope);
        let samples = pages(objects, 100, false);
        let estimate = EntryCounts::estimated(samples.clone(), &settings(scope));
        assert!(within(estimate, exact, 1), "{estimate:?} {exact:?}");
        // Without a headless Service in the sample, all slices are taken for selected.
        let mut unknown = samples;
        unknown[1].objects.retain(|object| {
            matches!(object, Object::Service(service) if service.kind != ServiceKind::Headless)
        });
        let bound = EntryCounts::estimated(unknown, &settings(scope));
        assert_eq!(
            bound.endpoints,
            3000 * 2,
            "two regular endpoints in each slice that the server counts"
        );
    }

    /// No sample has the Services and Namespaces of these slices.
    #[test]
    fn slices_count_without_their_services() {
        let (objects, exact) = cluster(1000, EndpointScope::All);
        let [namespaces, services, mut slices] = objects;
        slices.reverse();
        let objects = [namespaces, services, slices];
        let estimate =
            EntryCounts::estimated(pages(objects, 50, true), &settings(EndpointScope::All));
        assert_eq!(estimate.endpoints, exact.endpoints);
        assert!(within(estimate, exact, 2), "{estimate:?} {exact:?}");
    }

    #[test]
    fn verified_pods_have_records() {
        let pod = |i: u32| {
            let namespace = format!("n{i:04}").into();
            let address = Some(IpAddr::from(Ipv4Addr::from_bits(0x0a00_0000 + i)));
            let name = "pod".into();
            Object::Pod(Pod {
                namespace,
                name,
                address,
                terminating: false,
            })
        };
        let pods = sample((0..100).map(pod), Total::AtMost(1000));
        let settings = Settings {
            pods: headless_ebpf::abi::PodsMode::Verified,
            ..settings(EndpointScope::Headless)
        };
        let estimate = EntryCounts::estimated(vec![pods], &settings);
        assert_eq!(estimate.records.iter().sum::<u64>(), 1000);
    }
}
