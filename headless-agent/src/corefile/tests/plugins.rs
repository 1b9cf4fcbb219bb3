//! Every plugin, and what it leaves to CoreDNS.

use super::*;

/// The plugins of CoreDNS 1.14.7, from its `plugin.cfg`.
const PLUGIN_CFG: &str = include_str!("plugin.cfg");

#[test]
fn the_table_has_every_plugin_in_coredns_order() {
    let lines = PLUGIN_CFG.lines().filter(|line| !line.starts_with('#'));
    let listed: Vec<_> = lines
        .filter_map(|line| Some(line.split_once(':')?.0))
        .collect();
    let known: Vec<_> = PLUGINS.iter().map(|plugin| plugin.name).collect();
    assert_eq!(known, listed);
    let at = |name| known.iter().position(|it| *it == name).unwrap();
    for plugin in PLUGINS.iter().filter(|it| it.role == Role::Behind) {
        assert!(at(plugin.name) > at("kubernetes"), "{}", plugin.name);
    }
}

/// Plugins with options, and what they leave to CoreDNS.
const CASES: &[(&str, &str)] = &[
    ("root /x", ""),
    ("metadata", ""),
    ("geoip /x", ""),
    ("cancel", ""),
    ("proxyproto", ""),
    ("quic", ""),
    ("grpc_server", ""),
    ("https", ""),
    ("https3", ""),
    ("timeouts {\n read 1s\n }", ""),
    ("multisocket 2", ""),
    ("reload", ""),
    ("reload 10s 2s", ""),
    ("reload 2562047h 2562047h", ""),
    ("reload soon", "zone nxdomain denials reverse"),
    ("reload 2562048h", "zone nxdomain denials reverse"),
    ("reload 1s", "zone nxdomain denials reverse"),
    ("reload 2s 1ms", "zone nxdomain denials reverse"),
    ("reload 2s 0s", ""),
    ("nsid", "zone nxdomain denials reverse"),
    ("bufsize", ""),
    ("bufsize 100", "zone nxdomain denials reverse"),
    ("bind 0.0.0.0", ""),
    ("bind 127.0.0.1", "zone nxdomain denials reverse"),
    ("debug", ""),
    ("trace", ""),
    ("ready", ""),
    ("health {\n lameduck 5s\n }", ""),
    ("pprof", ""),
    ("shed", ""),
    ("prometheus :9153", ""),
    ("errors", ""),
    ("log . {\n class error\n }", ""),
    ("dnstap /x full", ""),
    ("local", "zone nxdomain denials reverse"),
    ("dns64", "denials"),
    ("dns64 {\n translate_all\n }", "zone"),
    ("any", "denials"),
    ("chaos", ""),
    ("loadbalance", ""),
    ("loadbalance round_robin", ""),
    ("loadbalance round_robin {\n prefer 10.0.0.0/8\n }", "zone"),
    ("loadbalance weighted /x", "zone"),
    ("tsig {\n require all\n }", "zone nxdomain denials reverse"),
    ("rewrite name exact a.example.com b.example.com", ""),
    ("rewrite name a.example.com b.default.svc.cluster.local", ""),
    (
        "rewrite stop name a.default.svc.cluster.local b.example.com",
        "/a.default.svc",
    ),
    ("rewrite name exact Cluster.local b.example.com", "/"),
    (
        "rewrite name 1.0.0.10.in-addr.arpa b.example.com",
        "reverse",
    ),
    (
        r"rewrite name regex ^(a|b)\.cluster\.local\.$ c.example.com",
        "/a /b",
    ),
    ("rewrite rcode a.cluster.local NXDOMAIN NOERROR", "/a"),
    ("rewrite ttl exact a.cluster.local 5", "/a"),
    (
        "rewrite continue {\n name suffix .example.com. .cluster.local.\n }",
        "",
    ),
    (
        "rewrite name suffix .svc.cluster.local. .example.com.",
        "zone",
    ),
    ("rewrite name prefix a b", "zone reverse"),
    ("rewrite name substring a b", "zone reverse"),
    (
        r"rewrite name regex (.*)\.example\.com {1}.default.svc.cluster.local",
        "zone reverse",
    ),
    (
        r"rewrite name regex (.*)\.example\.com\.$ {1}.default.svc.cluster.local",
        "",
    ),
    ("rewrite ttl example.com 5", ""),
    ("rewrite ttl suffix cluster.local 5", "zone"),
    ("rewrite rcode exact a.example.com NXDOMAIN NOERROR", ""),
    ("rewrite cname exact a b", "zone"),
    ("rewrite type ANY HINFO", "zone nxdomain denials reverse"),
    ("rewrite class CH IN", "zone nxdomain denials reverse"),
    (
        "rewrite edns0 local set 0xffee 0x61",
        "zone nxdomain denials reverse",
    ),
    ("autopath @kubernetes", "nxdomain"),
    ("autopath example.com @kubernetes", ""),
    ("acl {\n block net 10.0.0.0/8\n }", "zone reverse"),
    ("acl example.com {\n block\n }", ""),
    ("acl 10.in-addr.arpa {\n block\n }", "reverse"),
    ("cache 30", ""),
    ("cache 30 svc.cluster.local", "zone"),
    ("cache 30 cluster.local", "reverse"),
    ("cache 0", "zone nxdomain denials reverse"),
    ("cache 30 example.com", ""),
    (
        "header {\n response set aa\n }",
        "zone nxdomain denials reverse",
    ),
    ("dnssec", "zone reverse"),
    ("dnssec example.com", ""),
    ("tls a b c", ""),
    ("minimal", "zone nxdomain denials reverse"),
    ("template IN A example.com {\n answer x\n }", ""),
    ("template IN A {\n rcode NXDOMAIN\n }", "zone reverse"),
    ("template IN HTTPS {\n rcode NOERROR\n }", "denials"),
    ("template CH TXT {\n rcode NOERROR\n }", ""),
    (
        "template IN A {\n match \\.example\\.com\\.$\n answer x\n fallthrough\n }",
        "",
    ),
    (
        "template IN A {\n match \\.example\\.com\\.$\n answer x\n }",
        "zone reverse",
    ),
    (
        "template IN A {\n match ^a\\.cluster\\.local\\.$\n answer x\n fallthrough\n }",
        "/a",
    ),
    (
        "template IN A {\n match ^a\\.cluster\\.local\\.$\n answer x\n }",
        "zone reverse",
    ),
    (
        "template IN A example.com {\n match ^a\\.cluster\\.local\\.$\n fallthrough\n }",
        "",
    ),
    (
        "template IN HTTPS {\n match ^a\\.cluster\\.local\\.$\n fallthrough\n }",
        "/a",
    ),
    ("transfer {\n to *\n }", ""),
    (
        "hosts {\n 192.0.2.1 a.example.com\n fallthrough\n }",
        "reverse",
    ),
    (
        "hosts {\n 192.0.2.1 a.example.com\n no_reverse\n fallthrough\n }",
        "",
    ),
    ("hosts {\n 192.0.2.1 a.example.com\n no_reverse\n }", "zone"),
    (
        "hosts {\n 192.0.2.1 a.svc.cluster.local x B.cluster.local\n no_reverse\n fallthrough\n }",
        "/a.svc /b",
    ),
    (
        "hosts {\n 192.0.2.1 a.svc.cluster.local\n no_reverse\n }",
        "zone",
    ),
    (
        "hosts {\n 192.0.2.1 *.cluster.local\n no_reverse\n fallthrough\n }",
        "zone",
    ),
    (
        "hosts {\n 192.0.2.1 *.local\n no_reverse\n fallthrough\n }",
        "/",
    ),
    (
        "hosts {\n 192.0.2.1 *.example *\n no_reverse\n fallthrough\n }",
        "",
    ),
    ("hosts /etc/hosts example.com {\n no_reverse\n }", ""),
    (
        "hosts /etc/hosts {\n reload 0\n no_reverse\n fallthrough\n }",
        "",
    ),
    (
        "hosts {\n reload soon\n no_reverse\n fallthrough\n }",
        "zone nxdomain denials reverse",
    ),
    (
        "hosts {\n reload\n no_reverse\n fallthrough\n }",
        "zone nxdomain denials reverse",
    ),
    (
        "hosts /unknown/file {\n no_reverse\n fallthrough\n }",
        "zone",
    ),
    ("route53 example.org.:Z1", ""),
    ("route53 svc.cluster.local.:Z1", "zone"),
    ("azure group:example.org", ""),
    ("clouddns example.org:p:z", ""),
    ("clouddns local:p:z", "zone"),
    ("k8s_external example.org", ""),
    ("k8s_external a.cluster.local", "zone"),
    ("file /x", ""),
    ("auto", ""),
    ("secondary", ""),
    ("etcd", ""),
    ("loop", ""),
    ("forward . /etc/resolv.conf", ""),
    ("forward . {$UPSTREAM}", ""),
    ("cache {$TTL}", "zone nxdomain denials reverse"),
    ("grpc . 192.0.2.1", ""),
    ("erratic", ""),
    ("whoami", ""),
    ("on startup true", ""),
    ("sign /x example.org", ""),
    ("view v {\n expr true\n }", "zone nxdomain denials reverse"),
    ("nomad", ""),
    ("external", "zone nxdomain denials reverse"),
];

#[test]
fn every_plugin_leaves_to_coredns_what_it_can_change() {
    for (plugin, parts) in CASES {
        assert_eq!(labels(&with(plugin)), *parts, "{plugin}");
    }
    for plugin in PLUGINS.iter().filter(|it| it.name != "kubernetes") {
        let mut cases = CASES.iter();
        let first = |line: &str| line.split_whitespace().next() == Some(plugin.name);
        assert!(
            cases.any(|(line, _)| first(line)),
            "{} has no case",
            plugin.name
        );
    }
}

#[test]
fn caches_bound_ttls() {
    let cache = |text| with(text).options.unwrap().cache.unwrap();
    let bounds = |text| {
        let Cache { success, denial } = cache(text);
        (success.min, success.max, denial.min, denial.max)
    };
    assert_eq!(bounds("cache"), (5, 3600, 5, 1800));
    assert_eq!(bounds("cache 30"), (5, 30, 5, 30));
    assert_eq!(bounds("cache 900 {\n denial 9984 30\n }"), (5, 900, 5, 30));
    assert_eq!(
        bounds("cache {\n success 100 60 10\n denial 1 2 3\n }"),
        (10, 60, 3, 2)
    );
    assert_eq!(
        bounds("cache 30 {\n disable success cluster.local\n }"),
        (5, 30, 5, 30)
    );
    assert_eq!(cache("cache 30").success.apply(28_800), 30);
    assert_eq!(cache("cache 2").success.apply(3), 2);
    assert_eq!(with("bufsize 1024").options.unwrap().bufsize, Some(1024));
}

#[test]
fn the_block_with_the_longest_zone_decides() {
    let block = |keys: &str, plugins: &str| format!("{keys} {{\n {plugins}\n}}\n");
    let kubernetes = "kubernetes cluster.local in-addr.arpa ip6.arpa";
    let is = |texts: &[String], parts: &str| {
        assert_eq!(labels(&rules(&texts.concat())), parts, "{texts:?}");
    };
    let all = "zone nxdomain denials reverse";
    let usual = block(".:53", kubernetes);
    is(&[usual.clone(), block("example.com:53", "local")], "");
    is(&[usual.clone(), block("cluster.local:5300", "local")], "");
    is(&[usual.clone(), block("tls://cluster.local", "local")], "");
    is(
        &[usual.clone(), block("cluster.local", "forward . 192.0.2.1")],
        all,
    );
    is(&[usual.clone(), block("a.cluster.local", "local")], "zone");
    is(
        &[usual.clone(), block("10.0.0.0/8", "forward . 192.0.2.1")],
        "reverse",
    );
    is(
        &[usual.clone(), block("in-addr.arpa", "forward . 192.0.2.1")],
        "reverse",
    );
    is(&[usual.clone(), usual], all);
    let alone = block("cluster.local in-addr.arpa ip6.arpa", "kubernetes");
    is(
        &[alone.clone(), block(".", "forward . 192.0.2.1\nlocal")],
        "",
    );
    is(&[block("cluster.local", "kubernetes")], "reverse");
    is(&[block(".", "forward . 192.0.2.1")], all);
    is(&[block(".:5353", kubernetes)], "");
    is(
        &[block(".:5353", kubernetes), block(".:5354", kubernetes)],
        all,
    );
    is(
        &[block(
            ".",
            "kubernetes cluster.local svc.cluster.local in-addr.arpa ip6.arpa",
        )],
        "zone",
    );
    let other = read(&alone, &Files::default(), Some("example.org"));
    assert_eq!(other.parts(), Parts::ALL);
    let two = block(".", "kubernetes a.org b.org in-addr.arpa ip6.arpa");
    for (zone, parts) in [("a.org", ""), ("b.org", "reverse")] {
        let rules = read(&two, &Files::default(), Some(zone));
        assert_eq!(labels(&rules), parts, "{zone}");
    }
    let named = rules(&block(
        ".",
        "kubernetes in-addr.arpa ip6.arpa Example.ORG other.org",
    ));
    assert_eq!(labels(&named), "reverse");
    assert_eq!(named.options.unwrap().zone, "example.org.");
}

#[test]
fn other_classes_are_answered_with_forward_or_chaos_on_the_same_socket() {
    let kubernetes = "kubernetes cluster.local in-addr.arpa ip6.arpa";
    let usual = |plugins: &str| format!(".:53 {{\n {kubernetes}\n {plugins}\n}}\n");
    let alone = "cluster.local in-addr.arpa ip6.arpa {\n kubernetes\n}\n";
    let others = |key: &str, plugins: &str| format!("{alone}{key} {{\n {plugins}\n}}\n");
    let forward = "forward . 192.0.2.1";
    let template = |options: &str| usual(&format!("{forward}\n template {options}"));
    for (text, expected) in [
        (usual(""), false),
        (usual(forward), true),
        (usual("chaos"), true),
        (usual("loop\n cache 30"), false),
        (others(".", forward), true),
        (others("example.org", "chaos"), true),
        (others(".:5300", forward), false),
        (others("tls://.", forward), false),
        (others(".", &format!("{forward}\n bind 192.0.2.1")), false),
        (others(".", ""), false),
        (template("CH TXT {\n rcode NOERROR\n }"), false),
        (template("HS A cluster.local {\n rcode NXDOMAIN\n }"), false),
        (template("CH TXT example.org {\n rcode NOERROR\n }"), true),
        (template("IN A example.org {\n rcode NXDOMAIN\n }"), true),
    ] {
        let options = rules(&text).options.unwrap();
        assert_eq!(options.any_class, expected, "{text}");
    }
    // Names for which `chaos` itself answers.
    for (zone, plugin, expected) in [
        ("server", "chaos", false),
        ("bind", "chaos", false),
        ("server", forward, true),
        ("my.server", "chaos", true),
    ] {
        let text = format!(". {{\n kubernetes {zone} in-addr.arpa ip6.arpa\n {plugin}\n}}\n");
        let options = rules(&text).options.unwrap();
        assert_eq!(options.any_class, expected, "{text}");
    }
}

#[test]
fn findings_name_line_reason_and_cost() {
    let named = with("rewrite name a.cluster.local b\n hosts /etc/coredns/x {\n fallthrough\n }");
    let first = named.findings[0].to_string();
    let told = "line 3 of Corefile: rewrite: a rule for name can match a.cluster.local.: this \
                name is left to CoreDNS";
    assert_eq!(first, told);
    let rules = with("log\n hosts {\n 192.0.2.1 a\n fallthrough\n }\n minimal");
    let texts: Vec<_> = rules.findings.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "line 3 of Corefile: log: what the programs answer is not logged",
            "line 4 of Corefile: hosts: it answers for the addresses of its hosts (without \
             no_reverse): reverse names are left to CoreDNS",
            "line 8 of Corefile: minimal: it leaves out records: all names of the zone are left \
             to CoreDNS, reverse names are left to CoreDNS",
        ]
    );
}
