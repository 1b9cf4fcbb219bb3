//! Which names are compressed.

use super::*;

#[test]
fn srv_targets_are_not_compressed() {
    let index = nginx(1, false);
    let reply = sent(&index, &query(NGINX, 33), Transport::Udp);
    let target = wire(&format!("web-0.{NGINX}"));
    let found = reply
        .windows(target.len())
        .position(|bytes| bytes == target);
    let at = found.unwrap_or_else(|| panic!("{}", reply.escape_ascii()));
    // The owner name of the target's address points to the target.
    let pointer = (0xc000 | at as u16).to_be_bytes();
    assert_eq!(reply[at + target.len()..][..2], pointer);
}

#[test]
fn no_pointer_leads_to_a_name_in_another_case() {
    let index = nginx(1, false);
    let asked = "NGINX-headless.default.svc.CLUSTER.local";
    let reply = sent(&index, &query(asked, 33), Transport::Udp);
    let target = wire("web-0.nginx-headless.default.svc.CLUSTER.local");
    assert!(reply.windows(target.len()).any(|bytes| bytes == target));
    let message = read(&reply);
    let glue = Name::from_ascii("web-0.nginx-headless.default.svc.CLUSTER.local.").unwrap();
    assert!(message.additionals[0].name.eq_case(&glue));
}
