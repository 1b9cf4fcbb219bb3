//! SRV records and their targets.

use super::*;

#[test]
fn srv_records_of_headless_services() {
    let index = index(settings(), cluster());
    let answer = answered(&index, "_web._tcp.nginx.default.svc SRV");
    let owner = format!("_web._tcp.nginx.{SUFFIX}");
    // The port is the target port of the slice.
    let target = |label: &str| format!("{owner} 30 SRV 0 33 8080 {label}.nginx.{SUFFIX}");
    assert_eq!(
        shown(&answer.answers),
        ["10-0-0-39", "web-0", "web-1"].map(target)
    );
    assert_eq!(
        shown(&answer.additionals),
        [
            format!("10-0-0-39.nginx.{SUFFIX} 30 A 10.0.0.39"),
            format!("web-0.nginx.{SUFFIX} 30 A 10.0.0.22"),
            format!("web-1.nginx.{SUFFIX} 30 A 10.0.0.23"),
        ]
    );
    let every = answered(&index, "nginx.default.svc SRV");
    assert_eq!((every.answers.len(), every.additionals.len()), (6, 3));
    assert!(shown(&every.answers)[0].contains(" SRV 0 16 "));
    let one = answered(&index, "web-1.nginx.default.svc SRV");
    assert_eq!(
        shown(&one.answers),
        ["8080", "9090"].map(|port| {
            format!("web-1.nginx.{SUFFIX} 30 SRV 0 50 {port} web-1.nginx.{SUFFIX}")
        })
    );
}

#[test]
fn srv_records_of_cluster_ip_services() {
    let index = index(settings(), cluster());
    // Two families count twice; the record is one.
    let answer = answered(&index, "_http._tcp.api.default.svc SRV");
    let target = format!("api.{SUFFIX}");
    assert_eq!(
        shown(&answer.answers),
        [format!("_http._tcp.api.{SUFFIX} 30 SRV 0 50 80 {target}")]
    );
    assert_eq!(
        shown(&answer.additionals),
        [
            format!("{target} 30 A 10.96.0.7"),
            format!("{target} 30 AAAA fd00:96::7")
        ]
    );
    // A port without a name is found where no name is asked for.
    let every = answered(&index, "api.default.svc SRV");
    assert_eq!(
        shown(&every.answers),
        ["53", "80"].map(|port| format!("{target} 30 SRV 0 25 {port} {target}"))
    );
    let dns = answered(&index, "kube-dns.kube-system.svc SRV");
    assert_eq!(dns.answers.len(), 2, "TCP and UDP have one port");
}

#[test]
fn capitals_of_an_address_show_in_targets_alone() {
    let slice = slice(
        "default/c",
        "capitals",
        &["web/tcp/80"],
        &["fd00::6=FD00--6"],
    );
    let objects = vec![
        namespace("default"),
        service("default", "capitals", "None", &[]),
        slice,
    ];
    let index = index(settings(), objects);
    let question = "fd00--6.capitals.default.svc";
    let answer = answered(&index, &format!("{question} SRV"));
    assert_eq!(
        answer.answers[0].data.to_string(),
        "0 100 80 FD00--6.capitals.default.svc.cluster.local."
    );
    assert_eq!(
        ask(&index, &format!("{question} AAAA")),
        [format!("{question}.cluster.local. 30 AAAA fd00::6")]
    );
    assert!(index.name(b"\x07fd00--6\x08capitals\x07default").is_some());
}
