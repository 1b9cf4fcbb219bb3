//! Bytes written as text: pairs of hexadecimal digits; `#` starts a comment.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use hickory_proto::op::Message;
use hickory_proto::rr::RecordType;

use crate::frame::{HEADERS_LEN, HEADERS_LEN_V6};

/// Number of bytes on a line.
const LINE: usize = 16;

/// Reads the bytes of a text. The error names the line and the word.
pub fn parse(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let code = line.split_once('#').map_or(line, |(code, _)| code);
        for pair in code.split_whitespace() {
            let digits = pair.bytes().all(|byte| byte.is_ascii_hexdigit());
            let byte = (pair.len() == 2 && digits)
                .then(|| u8::from_str_radix(pair, 16).ok())
                .flatten();
            bytes.push(
                byte.ok_or_else(|| {
                    format!("line {number}: `{pair}` is not two hexadecimal digits")
                })?,
            );
        }
    }
    Ok(bytes)
}

/// Writes a frame as text, with a comment before each part that can be decoded.
pub fn annotate(frame: &[u8]) -> String {
    let mut text = String::new();
    let mut part = |range: Range<usize>, comment: &str| {
        let Some(bytes) = frame.get(range).filter(|bytes| !bytes.is_empty()) else {
            return;
        };
        writeln!(text, "# {comment}").unwrap();
        for line in bytes.chunks(LINE) {
            let pairs: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
            writeln!(text, "{}", pairs.join(" ")).unwrap();
        }
    };
    let link_len = if frame.get(12..14) == Some(&[0x81, 0]) {
        part(0..18, "Ethernet with a VLAN tag");
        18
    } else {
        part(0..14, "Ethernet");
        14
    };
    let is_ipv6 = frame.get(link_len - 2..link_len) == Some(&[0x86, 0xdd]);
    let headers_len = link_len - 14 + if is_ipv6 { HEADERS_LEN_V6 } else { HEADERS_LEN };
    let udp_at = headers_len - 8;
    if let Some(ip) = frame.get(link_len..udp_at) {
        let comment = if is_ipv6 {
            ipv6_text(ip)
        } else {
            ipv4_text(ip)
        };
        part(link_len..udp_at, &comment);
    }
    if let Some(udp) = frame.get(udp_at..headers_len) {
        let [source, destination, len] =
            [0, 2, 4].map(|at| u16::from_be_bytes([udp[at], udp[at + 1]]));
        let comment = format!("UDP: {source} to {destination}, {len} bytes");
        part(udp_at..headers_len, &comment);
        let end = (udp_at + usize::from(len)).clamp(headers_len, frame.len());
        let message = &frame[headers_len..end];
        for (range, comment) in message_parts(message) {
            part(range.start + headers_len..range.end + headers_len, &comment);
        }
        part(end..frame.len(), "bytes after the IP packet");
    }
    let whole = [link_len, udp_at, headers_len]
        .into_iter()
        .rfind(|end| *end <= frame.len())
        .unwrap_or_default();
    if frame.len() < headers_len {
        part(whole..frame.len(), "incomplete header");
    }
    text
}

/// Comment for an IPv4 header.
fn ipv4_text(header: &[u8]) -> String {
    let [source, destination] = [12, 16].map(|at| {
        let octets: [u8; 4] = header[at..at + 4].try_into().unwrap();
        Ipv4Addr::from(octets)
    });
    let len = u16::from_be_bytes([header[2], header[3]]);
    format!("IPv4: {source} to {destination}, {len} bytes")
}

/// Comment for an IPv6 header.
fn ipv6_text(header: &[u8]) -> String {
    let [source, destination] = [8, 24].map(|at| {
        let octets: [u8; 16] = header[at..at + 16].try_into().unwrap();
        Ipv6Addr::from(octets)
    });
    let len = u16::from_be_bytes([header[4], header[5]]);
    format!("IPv6: {source} to {destination}, {len} bytes of payload")
}

/// Ranges of a message's header, questions and records, each with a comment. A message
/// that hickory-proto cannot read is a single part.
fn message_parts(message: &[u8]) -> Vec<(Range<usize>, String)> {
    let whole = || vec![(0..message.len(), "DNS".to_owned())];
    let Ok(decoded) = Message::from_vec(message) else {
        return whole();
    };
    let Some(places) = places(message) else {
        return whole();
    };
    let metadata = &decoded.metadata;
    let mut texts = vec![format!(
        "DNS: id {}, {}{}{}{}, {}",
        metadata.id,
        if message[2] & 0x80 == 0 {
            "query"
        } else {
            "response"
        },
        if metadata.authoritative { ", aa" } else { "" },
        if metadata.truncation { ", tc" } else { "" },
        if metadata.recursion_desired {
            ", rd"
        } else {
            ""
        },
        metadata.response_code
    )];
    texts.extend(
        decoded
            .queries
            .iter()
            .map(|query| format!("question: {query}")),
    );
    let sections = [
        ("answer", &decoded.answers),
        ("authority", &decoded.authorities),
        ("additional", &decoded.additionals),
    ];
    for (section, records) in sections {
        let records = records.iter();
        texts.extend(
            records
                .filter(|record| record.record_type() != RecordType::OPT)
                .map(|record| format!("{section}: {record}")),
        );
    }
    texts.extend(decoded.edns.as_ref().map(|edns| {
        let dnssec = if edns.flags().dnssec_ok { ", do" } else { "" };
        format!(
            "OPT: version {}, {} bytes{dnssec}",
            edns.version(),
            edns.max_payload()
        )
    }));
    if texts.len() != places.len() {
        return whole();
    }
    let end = places.last().map_or(0, |last| last.end);
    let trailing = (end..message.len(), "bytes after the message".to_owned());
    places.into_iter().zip(texts).chain([trailing]).collect()
}

/// Ranges of a message's header, questions and records, in this order.
fn places(message: &[u8]) -> Option<Vec<Range<usize>>> {
    let word = |at: usize| {
        let bytes = message.get(at..at + 2)?.first_chunk::<2>()?;
        Some(usize::from(u16::from_be_bytes(*bytes)))
    };
    let name_end = |mut at: usize| {
        loop {
            match *message.get(at)? {
                0 => return Some(at + 1),
                len @ 1..64 => at += 1 + usize::from(len),
                _ => return Some(at + 2),
            }
        }
    };
    let header = 0..12;
    let mut at = header.end;
    let mut places = Vec::from([header]);
    for section in 0..4 {
        for _ in 0..word(4 + section * 2)? {
            let fixed = name_end(at)?;
            let end = match section {
                0 => fixed + 4,
                _ => fixed + 10 + word(fixed + 8)?,
            };
            places.push(at..end);
            at = end;
        }
    }
    Some(places)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Query, qtype};

    #[test]
    fn annotated_frames_parse_to_the_same_bytes() {
        let frame = Query::new("web.default.svc.cluster.local", qtype::A)
            .edns(1232)
            .frame();
        let text = annotate(&frame);
        assert_eq!(parse(&text).unwrap(), frame);
        assert!(text.contains("question: web.default"), "{text}");
        assert!(text.contains("OPT: version 0, 1232 bytes"), "{text}");
        let trailing = [&frame[..], &[1, 2, 3]].concat();
        assert_eq!(parse(&annotate(&trailing)).unwrap(), trailing);
        let ipv6 = Query::new("web.default.svc.cluster.local", qtype::A).frame_v6();
        assert!(annotate(&ipv6).contains("question: web.default"));
        for frame in [frame, ipv6] {
            for len in 0..frame.len() {
                assert_eq!(parse(&annotate(&frame[..len])).unwrap(), frame[..len]);
            }
        }
    }

    #[test]
    fn words_that_are_not_two_digits_are_refused() {
        assert_eq!(parse("0a # 0b\n0C").unwrap(), [0x0a, 0x0c]);
        assert!(parse("0a\n1").unwrap_err().contains("line 2"));
        assert!(parse("+1").is_err());
    }
}
