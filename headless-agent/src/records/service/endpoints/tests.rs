use super::*;
use crate::watch::Endpoint;

/// A slice of a few endpoints. Other slices often have the same names and
/// addresses.
fn slice(name: u8) -> Arc<EndpointSlice> {
    let endpoint = || Endpoint {
        address: IpAddr::from([10, 0, 0, fastrand::u8(..6)]),
        name: fastrand::bool().then(|| ["a", "B", "10-0-0-1"][fastrand::usize(..3)].into()),
    };
    let port = || Port {
        name: "http".into(),
        number: fastrand::bool().then_some(80),
        protocol: crate::watch::Protocol::Tcp,
    };
    Arc::new(EndpointSlice {
        namespace: "default".into(),
        name: format!("web-{name}").into(),
        service: "web".into(),
        ports: (0..fastrand::u8(..2)).map(|_| port()).collect(),
        endpoints: (0..fastrand::u8(..5)).map(|_| endpoint()).collect(),
        aliases: Box::default(),
        partial: false,
        selected: true,
    })
}

/// Replaces, adds or removes a random slice. The slices are sorted by name.
fn change(slices: &mut Vec<Arc<EndpointSlice>>) {
    let new = slice(fastrand::u8(..6));
    match slices.binary_search_by(|at| at.name.cmp(&new.name)) {
        Ok(at) if fastrand::bool() => drop(slices.remove(at)),
        Ok(at) => slices[at] = new,
        Err(at) => slices.insert(at, new),
    }
}

fn names(endpoints: &Endpoints) -> Vec<(String, NameData)> {
    let groups = endpoints.groups();
    groups.map(|of| (of.label.to_string(), of.data())).collect()
}

#[test]
fn a_change_leads_where_starting_over_leads() {
    for _ in 0..200 {
        let mut slices = Vec::new();
        let mut endpoints = Endpoints::default();
        for _ in 0..20 {
            for _ in 0..fastrand::u8(1..3) {
                change(&mut slices);
            }
            let before = endpoints;
            endpoints = before.replaced(&slices);
            let anew = Endpoints::default().replaced(&slices);
            assert_eq!(endpoints.by_name, anew.by_name);
            assert_eq!(endpoints.ipv4, anew.ipv4);

            // `differing` has every name whose records differ.
            let mut may = before.differing(&endpoints);
            may.extend(endpoints.differing(&before));
            let (old, new) = (names(&before), names(&endpoints));
            let differing = old.iter().filter(|name| !new.contains(name));
            for (label, _) in differing.chain(new.iter().filter(|name| !old.contains(name))) {
                assert!(
                    may.contains(&EndpointLabel::from(&**label)),
                    "{label}: {slices:#?}"
                );
            }
            for (label, data) in &new {
                assert_eq!(
                    endpoints.find(label).map(|of| of.data()).as_ref(),
                    Some(data)
                );
            }
        }
    }
}
