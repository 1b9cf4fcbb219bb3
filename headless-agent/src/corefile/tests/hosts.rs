//! Names of the zone in `hosts`.

use super::*;

#[test]
fn hosts_are_read_from_files_with_an_absolute_path() {
    let folder = |hosts: &str| Folder::Known([("x".to_owned(), hosts.to_owned())].into());
    for (path, hosts, parts) in [
        ("/etc/coredns/x", "192.0.2.1 a.example.com\n", ""),
        (
            "/etc/coredns/x",
            "192.0.2.1 a.cluster.local b\n::1 c.cluster.local\n",
            "/a /c",
        ),
        ("/etc/coredns/x", "192.0.2.1 ä.cluster.local\n", "zone"),
        ("/etc/coredns/x", "192.0.2.1 *.local\n", "/"),
        ("x", "192.0.2.1 a.example.com\n", "zone"),
    ] {
        let files = Files::new([("/etc/coredns".to_owned(), folder(hosts))]);
        let text = format!(
            ".:53 {{\n kubernetes cluster.local in-addr.arpa ip6.arpa\n hosts {path} {{\n \
             no_reverse\n fallthrough\n }}\n}}\n"
        );
        assert_eq!(labels(&read(&text, &files, None)), parts, "{path} {hosts}");
    }
}

#[test]
fn a_hosts_file_that_is_read_later_than_the_corefile_leaves_the_zone() {
    let hosts = "192.0.2.1 a.cluster.local\n".to_owned();
    let folder = Folder::Known([("x".to_owned(), hosts)].into());
    let files = Files::new([("/etc/coredns".to_owned(), folder)]);
    for (corefile, option, parts) in [
        ("reload", "", "/a"),
        ("reload", "reload 30s", "/a"),
        ("reload", "reload 10m", "zone"),
        ("reload 1h", "reload 10m", "/a"),
        ("reload", "reload 0", "zone"),
        ("reload", "reload 0s", "zone"),
        ("reload 2s", "", "zone"),
        ("reload 2s", "reload 1s", "/a"),
        ("", "", "/a"),
        ("", "reload 10m", "zone"),
    ] {
        let text = format!(
            ".:53 {{\n kubernetes cluster.local in-addr.arpa ip6.arpa\n {corefile}\n hosts \
             /etc/coredns/x {{\n {option}\n no_reverse\n fallthrough\n }}\n}}\n"
        );
        let rules = read(&text, &files, None);
        assert_eq!(labels(&rules), parts, "{corefile} {option}");
        let says = |it: &str| rules.findings.iter().any(|found| found.text.contains(it));
        assert_eq!(says("its changed file"), parts == "zone");
    }
}

#[test]
fn more_than_the_most_names_are_the_zone() {
    let hosts = |count: usize| {
        let line = |i| format!(" 192.0.2.1 h{i}.cluster.local\n");
        let lines: String = (0..count).map(line).collect();
        with(&format!("hosts {{\n{lines} no_reverse\n fallthrough\n }}"))
    };
    let most = hosts(64).left();
    assert_eq!((most.names.len(), most.parts), (64, Parts::NONE));
    let more = hosts(65);
    assert_eq!(more.left(), Part::Zone.into());
    let last = more.findings.last().unwrap().to_string();
    let told = "more than 64 names of the zone: all names of the zone are left to CoreDNS";
    assert_eq!(last, told);
}
