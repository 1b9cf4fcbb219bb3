//! Reverse names.

use super::*;

#[test]
fn ptr_of_services_and_endpoints() {
    for settings in [settings(), all()] {
        let unknown = match settings.endpoints {
            EndpointScope::All => "Upstream",
            EndpointScope::Headless => "ClusterDns",
        };
        let endpoints_named = settings.endpoints == EndpointScope::All;
        let index = index(settings, cluster());
        let nibbles = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa.";
        // Labels left of the 32 nibbles are not looked at.
        let more = format!("x.{nibbles}");
        for (owner, target, is_endpoint) in [
            ("7.0.96.10.in-addr.arpa.", "api.default", false),
            // The Namespace object need not exist.
            ("9.0.96.10.in-addr.arpa.", "lost.lost", false),
            ("22.0.0.10.In-Addr.arpa.", "web-0.nginx.default", true),
            ("39.0.0.10.in-addr.arpa.", "10-0-0-39.nginx.default", true),
            (nibbles, "a.dual.default", true),
            (&more, "a.dual.default", true),
        ] {
            let record = format!("{owner} 30 PTR {target}.svc.cluster.local.");
            let expected = if is_endpoint && !endpoints_named {
                // An endpoint of a Service with a cluster IP may have the same address.
                unknown.to_owned()
            } else {
                record
            };
            assert_eq!(ask(&index, &format!("{owner} PTR")), [expected]);
        }
        for question in [
            "9.9.9.9.in-addr.arpa. PTR",
            "9.9.9.in-addr.arpa. PTR",
            "1.22.0.0.10.in-addr.arpa. PTR",
            "022.0.0.10.in-addr.arpa. PTR",
            "1.0.0.0.ip6.arpa. PTR",
            "22.0.0.10.in-addr.arpa. A",
            "22.0.0.10.in-addr.arpa. TXT",
            "nginx.default.svc.in-addr.arpa. A",
        ] {
            assert_eq!(ask(&index, question), [unknown], "{question}");
        }
    }
}

#[test]
fn ptr_of_endpoints_of_cluster_ip_services() {
    let question = "1.2.0.10.in-addr.arpa. PTR";
    let index = index(all(), cluster());
    assert_eq!(
        ask(&index, question),
        [format!(
            "1.2.0.10.in-addr.arpa. 30 PTR 10-0-2-1.api.{SUFFIX}"
        )]
    );
    let index = super::index(settings(), cluster());
    assert_eq!(ask(&index, question), ["ClusterDns"]);
}

#[test]
fn one_ptr_record_for_each_service_and_name() {
    let mut events = cluster();
    events.extend([
        service("default", "twin", "None", &[]),
        slice(
            "default/twin-1",
            "twin",
            &[],
            &["10.0.0.22=web-0", "10.0.0.22=other"],
        ),
        slice("default/twin-2", "twin", &[], &["10.0.0.22=web-0"]),
        // The endpoint of a slice has a reverse name even without the Service.
        slice("default/orphan-1", "orphan", &[], &["10.0.0.22"]),
    ]);
    let index = index(all(), events);
    let owner = "22.0.0.10.in-addr.arpa.";
    let target = |name: &str| format!("{owner} 30 PTR {name}.{SUFFIX}");
    assert_eq!(
        ask(&index, &format!("{owner} PTR")),
        [
            "10-0-0-22.orphan",
            "other.twin",
            "web-0.nginx",
            "web-0.twin"
        ]
        .map(target)
    );
}
