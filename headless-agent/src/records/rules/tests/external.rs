//! Services of type ExternalName, and the chains of CNAMEs that they make.

use super::*;

#[test]
fn external_names_lead_out_of_the_zone() {
    let index = index(settings(), cluster());
    let alias = format!("db.{SUFFIX} 30 CNAME db.Example.com.");
    let answer = answered(&index, "db.default.svc A");
    assert_eq!(shown(&answer.answers), std::slice::from_ref(&alias));
    let [chase] = &answer.chases[..] else {
        panic!("{answer:?}");
    };
    assert_eq!(
        (chase.target.to_ascii(), chase.qtype),
        ("db.Example.com.".to_owned(), 1)
    );
    assert_eq!(
        ask(&index, "db.default.svc CNAME"),
        std::slice::from_ref(&alias)
    );
    let plain = answered(&index, "db.default.svc CNAME");
    assert_eq!(plain.chases, []);

    let address = RData::A("192.0.2.1".parse().unwrap());
    let found = Record::from_rdata(chase.target.clone(), 60, address);
    let chased = answer.clone().chased(vec![found]);
    assert_eq!(
        shown(&chased.answers),
        ["db.Example.com. 60 A 192.0.2.1".to_owned(), alias.clone()]
    );
    assert_eq!(chased.chases, []);
    let failed = answer.chased(Vec::new());
    assert_eq!(shown(&failed.answers), [alias]);
    assert!(failed.authoritative && failed.authorities.is_empty());
    assert_eq!(failed.rcode, ResponseCode::NoError);

    let chain = answered(&index, "via.default.svc AAAA");
    assert_eq!(
        shown(&chain.answers),
        [
            format!("db.{SUFFIX} 30 CNAME db.Example.com."),
            format!("via.{SUFFIX} 30 CNAME db.{SUFFIX}"),
        ]
    );
    assert_eq!(chain.chases[0].qtype, 28);
}

#[test]
fn external_names_within_the_zone_are_followed() {
    let index = index(settings(), cluster());
    let answer = ask(&index, "alias6.default.svc A");
    assert_eq!(answer.len(), 5, "two CNAMEs, three addresses: {answer:?}");
    assert!(answer.contains(&format!("alias6.{SUFFIX} 30 CNAME alias.{SUFFIX}")));
    assert!(answer.contains(&format!("alias.{SUFFIX} 30 CNAME nginx.{SUFFIX}")));
    assert!(answer.contains(&format!("nginx.{SUFFIX} 30 A 10.0.0.22")));
    // No record of the type at the end, no CNAME either.
    for name in ["alias6 AAAA", "broken A", "loop A", "ping A"] {
        let (name, kind) = name.split_once(' ').unwrap();
        assert_eq!(
            ask(&index, &format!("{name}.default.svc {kind}")),
            ["NODATA"],
            "{name}"
        );
    }
    assert_eq!(ask(&index, "broken.default.svc CNAME").len(), 1);
}

#[test]
fn chains_are_followed_so_far() {
    // hop-0 leads to the addresses; hop-n takes n + 1 CNAMEs.
    let mut events = cluster();
    for hop in 0..14u32 {
        let target = match hop {
            0 => "nginx".to_owned(),
            _ => format!("hop-{}", hop - 1),
        };
        let target = format!("{target}.default.svc.cluster.local");
        events.push(service("default", &format!("hop-{hop}"), &target, &[]));
    }
    let index = index(settings(), events);
    assert_eq!(ask(&index, "hop-10.default.svc A").len(), 11 + 3);
    assert_eq!(ask(&index, "hop-11.default.svc A"), ["NODATA"]);
}
