//! Names at the limits of their length, and names in mixed case.

use headless_ebpf::abi::PassReason;
use headless_ebpf::respond::Verdict;
use headless_tests::frame::{Query, qtype};
use headless_tests::twin::Twin;

use super::{DATA, NXDOMAIN, ZONE, ask_all, query};

headless_tests::for_each_hook! {
    names_up_to_255_bytes_are_answered_and_longer_ones_pass
    replies_keep_the_case_of_the_question
}

/// A name of this many labels of one byte.
fn ones(labels: usize) -> String {
    vec!["a"; labels].join(".")
}

fn names_up_to_255_bytes_are_answered_and_longer_ones_pass(hook: &str) {
    let mut twin = Twin::new(hook);
    let sixty_three = |letter: &str| letter.repeat(63);
    // A program finds an endpoint with a long name through the endpoint's Service.
    twin.add(&["s", "n"].map(sixty_three).join("."), 6, 1);
    let endpoint = ["e", "s", "n"].map(sixty_three).join(".");
    twin.add(&endpoint, 6, 1);
    let mut rows = vec![
        (query(&endpoint), DATA),
        (query(&endpoint).edns(512), DATA),
        (query(&["e", "s", "m"].map(sixty_three).join(".")), NXDOMAIN),
    ];
    // `svc.cluster.local` has 19 bytes in wire form, root included. 118 labels of one byte
    // take 236 more, which makes 255, the longest name (RFC 1035, section 3.1).
    for labels in (1..=118).rev() {
        rows.push((query(&ones(labels)), NXDOMAIN));
    }
    let longest = query(&ones(118));
    assert_eq!(longest.name.len(), 255);
    rows.push((longest.edns(4096), NXDOMAIN));
    // One label more exceeds 255 bytes, as do 128 labels outside of the zone.
    let name = Verdict::Pass(PassReason::Name);
    rows.push((query(&ones(119)), name));
    let outside = Query::new(&ones(127), qtype::A);
    assert_eq!(outside.name.len(), 255);
    rows.push((outside, Verdict::Pass(PassReason::OutsideZone)));
    rows.push((Query::new(&ones(128), qtype::A), name));
    ask_all(&mut twin, &rows);
}

/// Some resolvers choose the case of each letter at random and expect the same letters in
/// the reply ("0x20", draft-vixie-dnsext-dns0x20).
fn replies_keep_the_case_of_the_question(hook: &str) {
    let mut twin = Twin::new(hook);
    twin.add("web-0.nginx.default", 2, 0);
    let name = format!("web-0.nginx.default.{ZONE}");
    let mut random = fastrand::Rng::with_seed(20);
    let mixed = |name: &str, random: &mut fastrand::Rng| -> String {
        let change = |letter: char| {
            if random.bool() {
                letter.to_ascii_uppercase()
            } else {
                letter
            }
        };
        name.chars().map(change).collect()
    };
    let mut rows = Vec::new();
    for _ in 0..20 {
        let found = Query::new(&mixed(&name, &mut random), qtype::A);
        let missing = Query::new(&mixed(&format!("x.{ZONE}"), &mut random), qtype::A);
        rows.extend([(found, DATA), (missing, NXDOMAIN)]);
    }
    ask_all(&mut twin, &rows);
}
