//! No text makes the reader panic or take long.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

/// Pieces of Corefiles.
fn piece() -> impl Strategy<Value = String> {
    let fixed = prop::sample::select(vec![
        "{",
        "}",
        "{\n",
        "}\n",
        "\n",
        " ",
        "\"",
        "\\",
        "#",
        ",",
        "import ",
        "import s\n",
        "(s)",
        ".:53",
        "cluster.local",
        "in-addr.arpa",
        "10.0.0.0/9",
        "::/3",
        "{$A}",
        "{%B%}",
        "{$}",
        "kubernetes ",
        "cache ",
        "fallthrough ",
        "success ",
        "denial ",
        "0 ",
        "-1 ",
        "99999999999 ",
        "rewrite name ",
        "regex ",
        "continue ",
        "suffix ",
        "(a|b",
        "$ ",
        "template IN A ",
        "match ",
        "hosts ",
        "/etc/coredns/x ",
        "*",
        "?",
        "[",
        "]",
        "/",
        "..",
        "reload ",
        "1h",
        "reload 2562047h 2562047h\n",
        "5124095576030431h ",
        "9999999999999999999h ",
        "bufsize ",
        "bind ",
        "loadbalance ",
        "acl ",
        "dns64 ",
        "autopath @k ",
        "ttl ",
        "pods ",
        "namespaces ",
        "tls://",
        "://",
        ":",
        "\u{feff}",
        "\r",
        "\u{a0}",
        "ß",
    ]);
    let names = super::super::PLUGINS.map(|plugin| plugin.name).to_vec();
    let plugins = prop::sample::select(names).prop_map(|name| format!("{name} "));
    prop_oneof![
        4 => fixed.prop_map(str::to_owned),
        2 => plugins,
        1 => any::<String>(),
    ]
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(pieces in prop::collection::vec(piece(), 0..80)) {
        let text = pieces.concat();
        let names = [("x".to_owned(), text.clone()), ("a".to_owned(), "import x\n".to_owned())];
        let folder = Folder::Known(names.into_iter().collect());
        let files = Files::new([("/etc/coredns".to_owned(), folder)]);
        let whole = read(&text, &files, None);
        // Options that are not known leave everything to CoreDNS.
        prop_assert!(whole.options.is_some() || whole.parts() == Parts::ALL, "{whole:?}");
        let block = format!(".:53 {{\nkubernetes cluster.local in-addr.arpa ip6.arpa\n{text}\n}}");
        let inner = read(&block, &files, Some("cluster.local"));
        let now = Instant::now();
        let mut transition = Transition::new(inner.clone(), Some(Duration::ZERO), now);
        transition.change(whole, now);
        transition.doubted(now);
        prop_assert!(inner.options.is_some() || inner.parts() == Parts::ALL, "{inner:?}");
    }
}
