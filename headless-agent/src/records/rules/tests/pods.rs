//! Names of pods (CoreDNS, `findPods` in `plugin/kubernetes/kubernetes.go`).

use super::*;

#[test]
fn pods_insecure() {
    let index = index(settings(), cluster());
    for (name, expected) in [
        (
            "1-2-3-4.default.pod",
            "1-2-3-4.default.pod.cluster.local. 30 A 1.2.3.4",
        ),
        (
            "x.1-2-3-4.default.pod",
            "x.1-2-3-4.default.pod.cluster.local. 30 A 1.2.3.4",
        ),
        (
            "a.b.1-2-3-4.default.pod",
            "a.b.1-2-3-4.default.pod.cluster.local. 30 A 1.2.3.4",
        ),
        (
            "--ffff-102-304.default.pod",
            "\\--ffff-102-304.default.pod.cluster.local. 30 A 1.2.3.4",
        ),
        ("fd00--1.default.pod", "NODATA"),
        ("a.b.c.1-2-3-4.default.pod", "NXDOMAIN"),
        ("1-2-3-4.nosuch.pod", "NXDOMAIN"),
        ("1-2-3-256.default.pod", "NXDOMAIN"),
        ("01-2-3-4.default.pod", "NXDOMAIN"),
        ("1-2-3.default.pod", "NXDOMAIN"),
        ("web-0.default.pod", "NXDOMAIN"),
    ] {
        assert_eq!(ask(&index, &format!("{name} A")), [expected]);
    }
    assert_eq!(
        ask(&index, "FD00--1.default.pod AAAA"),
        ["FD00--1.default.pod.cluster.local. 30 AAAA fd00::1"]
    );
    let answer = answered(&index, "1-2-3-4.default.pod SRV");
    let name = "1-2-3-4.default.pod.cluster.local.";
    assert_eq!(
        shown(&answer.answers),
        [format!("{name} 30 SRV 0 100 0 {name}")]
    );
    assert_eq!(shown(&answer.additionals), [format!("{name} 30 A 1.2.3.4")]);
}

#[test]
fn pods_verified() {
    let verified = Settings {
        pods: PodsMode::Verified,
        ..settings()
    };
    let index = index(verified, cluster());
    for (question, expected) in [
        (
            "10-0-9-1.default.pod A",
            "10-0-9-1.default.pod.cluster.local. 30 A 10.0.9.1",
        ),
        ("10-0-9-1.kube-system.pod A", "NXDOMAIN"),
        ("10-0-9-2.default.pod A", "NXDOMAIN"),
        (
            "fd00-9--1.default.pod AAAA",
            "fd00-9--1.default.pod.cluster.local. 30 AAAA fd00:9::1",
        ),
        ("fd00-9-0--1.default.pod AAAA", "NXDOMAIN"),
        (
            "FD00-9--1.default.pod AAAA",
            "FD00-9--1.default.pod.cluster.local. 30 AAAA fd00:9::1",
        ),
        ("default.pod A", "NODATA"),
        // Two pods in the host's network share an address, and each counts for the weight.
        (
            "10-0-9-1.default.pod SRV",
            "10-0-9-1.default.pod.cluster.local. 30 SRV 0 50 0 10-0-9-1.default.pod.cluster.local.",
        ),
    ] {
        assert_eq!(ask(&index, question), [expected], "{question}");
    }
}

#[test]
fn pods_disabled() {
    let disabled = Settings {
        pods: PodsMode::Disabled,
        ..settings()
    };
    let index = index(disabled, cluster());
    assert_eq!(row(&index, "pod"), "NNNXNNNNNNN");
    for name in ["default.pod", "1-2-3-4.default.pod"] {
        assert_eq!(row(&index, name), "XXXXXXNXXXX", "{name}");
    }
}
