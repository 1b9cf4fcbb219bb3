//! The options of `kubernetes`, and which objects have names by them.

use headless_ebpf::abi::PodsMode;

use super::*;

fn kubernetes(options: &str) -> Rules {
    rules(&format!(
        ".:53 {{\n kubernetes cluster.local in-addr.arpa ip6.arpa {{\n {options}\n }}\n}}\n"
    ))
}

#[test]
fn options_of_kubernetes_are_taken_over_or_stand_in_the_way() {
    for (option, parts) in [
        ("pods insecure", ""),
        ("ttl 30", ""),
        ("endpoint_pod_names", ""),
        ("fallthrough", "nxdomain"),
        ("fallthrough in-addr.arpa ip6.arpa", ""),
        ("fallthrough svc.cluster.local", "nxdomain"),
        ("namespaces a b", ""),
        ("namespace_labels a=b", ""),
        ("labels a in (b)", ""),
        ("noendpoints", ""),
        ("ignore empty_service", ""),
        ("ignore", ""),
        ("zonal", "zone nxdomain denials reverse"),
        (
            "multicluster clusterset.local",
            "zone nxdomain denials reverse",
        ),
        (
            "endpoint https://192.0.2.1",
            "zone nxdomain denials reverse",
        ),
        ("kubeconfig /x", "zone nxdomain denials reverse"),
        ("tls a b c", ""),
        ("startup_timeout 5s", ""),
        ("apiserver_qps 5", ""),
        ("apiserver_burst 5", ""),
        ("apiserver_max_inflight 5", ""),
        ("unknown", "zone nxdomain denials reverse"),
    ] {
        let rules = kubernetes(option);
        assert_eq!(labels(&rules), parts, "{option}");
        assert!(rules.options.is_some(), "{option}");
    }
    let options = kubernetes("pods verified\nttl 60\nendpoint_pod_names")
        .options
        .unwrap();
    assert_eq!(options.pods, PodsMode::Verified);
    assert_eq!((options.ttl, options.endpoint_pod_names), (60, true));
    for wrong in [
        "pods",
        "pods many",
        "ttl 3601",
        "ttl",
        "ignore all",
        "namespaces",
        "namespace_labels",
        "noendpoints x",
        "endpoint_pod_names x",
        "namespaces a\nnamespace_labels a=b",
        "namespace_labels a=b\nnamespaces a",
        // `meta.ParseToLabelSelector` knows no `!=`.
        "labels a!=b",
        "labels a in b",
        "labels -a",
        "namespace_labels a>1",
        "namespace_labels a=b,",
    ] {
        let rules = kubernetes(wrong);
        assert_eq!(rules.options, None, "{wrong}");
        assert_eq!(labels(&rules), "zone nxdomain denials reverse", "{wrong}");
    }
    let error = kubernetes("labels a=b c=d").findings.remove(0).to_string();
    assert!(error.contains("`a=b c=d` is no requirement"), "{error}");
    let error = kubernetes("labels a=b,a=c").findings.remove(0).to_string();
    assert!(error.contains("a selector with a twice"), "{error}");
}

#[test]
fn objects_with_names_are_taken_over() {
    let of = |options| kubernetes(options).options.unwrap().exposure;
    assert_eq!(of("ttl 5"), Exposure::default());
    let listed = ["a", "B", "c"].map(Box::from).into();
    assert_eq!(
        of("namespaces a B\nnamespaces c").namespaces,
        Namespaces::Listed(listed)
    );
    let labelled = of("namespace_labels a in (b, c) , !d\nlabels x=y\nlabels e notin (f)");
    let selector = |text: &str| text.parse().unwrap();
    assert_eq!(
        labelled,
        Exposure {
            namespaces: Namespaces::Labelled(selector("a in (b,c),!d")),
            labels: selector("e notin (f)"),
            ..Exposure::default()
        }
    );
    assert!(of("labels \"\"").labels.is_empty());
    let of_endpoints = of("noendpoints\nignore empty_service and more");
    assert!(of_endpoints.no_endpoints && of_endpoints.ignore_empty);
    let differences = kubernetes("namespaces a\nlabels x=y").options.unwrap();
    let differences = differences.differences(&kubernetes("noendpoints").options.unwrap());
    assert_eq!(
        differences,
        "namespaces a instead of all, labels `x=y` instead of ``, noendpoints false instead of true"
    );
}
