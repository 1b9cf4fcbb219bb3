//! An upstream resolver with fixed answers, for names outside the cluster.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;

use hickory_proto::op::{Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, SOA};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::message::DnsName;

/// TTL of nearly every record in seconds. No record of the cluster has this TTL.
pub const TTL: u32 = 77;

/// Names with an answer of their own. `nx.example.com` and every name that is not listed
/// are NXDOMAIN.
pub const NAMES: [&str; 6] = [
    "ok.example.com",
    "v4.example.com",
    "alias.example.com",
    "many.example.com",
    "broken.example.com",
    "nx.example.com",
];

/// The RCODE and the answer section for a question.
pub fn lookup(name: &Name, qtype: RecordType) -> (ResponseCode, Vec<Record>) {
    let record = |name: &Name, data| Record::from_rdata(name.clone(), TTL, data);
    let ipv4 = |last| RData::A(A::new(192, 0, 2, last));
    let ipv6 = || RData::AAAA(AAAA::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7));
    let text = name.to_ascii().to_ascii_lowercase();
    let records = match (text.trim_end_matches('.'), qtype) {
        ("ok.example.com" | "v4.example.com", RecordType::A) => vec![record(name, ipv4(1))],
        ("ok.example.com", RecordType::AAAA) => vec![record(name, ipv6())],
        ("www.example.com", RecordType::A) => {
            let address = RData::A(A::new(192, 0, 2, 80));
            vec![Record::from_rdata(name.clone(), 300, address)]
        }
        ("many.example.com", RecordType::A) => (1..9).map(|i| record(name, ipv4(i))).collect(),
        ("alias.example.com", _) => {
            let Ok(target) = Name::from_ascii("ok.example.com.") else {
                return (ResponseCode::ServFail, Vec::new());
            };
            let (rcode, rest) = lookup(&target, qtype);
            let alias = record(name, RData::CNAME(CNAME(target)));
            return (rcode, [vec![alias], rest].concat());
        }
        ("ok.example.com" | "v4.example.com" | "www.example.com" | "many.example.com", _) => {
            Vec::new()
        }
        ("broken.example.com", _) => return (ResponseCode::ServFail, Vec::new()),
        _ => return (ResponseCode::NXDomain, Vec::new()),
    };
    (ResponseCode::NoError, records)
}

/// The name and type that a query asks for; `None` if the question cannot be read. The
/// rest of the query may be malformed.
pub fn question(query: &[u8]) -> Option<(Name, RecordType)> {
    let name = DnsName::from_wire(query.get(12..)?)?;
    let end = 12 + name.wire_len();
    let qtype = u16::from_be_bytes(*query.get(end..)?.first_chunk()?);
    let name = Name::from_labels(name.0.iter().map(Vec::as_slice)).ok()?;
    Some((name, RecordType::from(qtype)))
}

/// The reply to a query; `None` if the question cannot be read.
fn reply(query: &[u8]) -> Option<Vec<u8>> {
    let (name, qtype) = question(query)?;
    let (rcode, answers) = lookup(&name, qtype);
    let mut reply = Message::response(0, OpCode::Query);
    reply.metadata.response_code = rcode;
    reply.metadata.recursion_available = true;
    if answers.is_empty() {
        let zone = Name::from_ascii("example.com.").ok()?;
        let soa = SOA::new(zone.clone(), zone.clone(), 1, 2, 3, 4, 5);
        reply.add_authority(Record::from_rdata(zone, TTL, RData::SOA(soa)));
    }
    let class = query.get(12 + DnsName::from_wire(query.get(12..)?)?.wire_len() + 2..)?;
    let class = u16::from_be_bytes(*class.first_chunk()?);
    let mut asked = Query::query(name, qtype);
    asked.set_query_class(DNSClass::from(class));
    reply.add_query(asked);
    reply.add_answers(answers);
    let mut bytes = reply.to_vec().ok()?;
    bytes.get_mut(..2)?.copy_from_slice(query.get(..2)?);
    Some(bytes)
}

/// Answers at an address, over UDP and TCP, until the process ends. CoreDNS forwards over the
/// transport of its client.
pub fn serve(address: SocketAddr) -> io::Result<()> {
    let socket = UdpSocket::bind(address)?;
    let listener = TcpListener::bind(address)?;
    thread::spawn(move || {
        let mut buffer = vec![0; 4096];
        while let Ok((len, client)) = socket.recv_from(&mut buffer) {
            let query = buffer.get(..len).unwrap_or_default();
            if let Some(reply) = reply(query) {
                // The client may have closed its socket.
                let _sent = socket.send_to(&reply, client);
            }
        }
    });
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // The connection ends with an error when the client closes it.
            thread::spawn(move || answer_stream(stream));
        }
    });
    Ok(())
}

/// Answers every query of a connection, each after two bytes with its length.
fn answer_stream(mut stream: TcpStream) -> io::Result<()> {
    loop {
        let mut len = [0; 2];
        stream.read_exact(&mut len)?;
        let mut query = vec![0; usize::from(u16::from_be_bytes(len))];
        stream.read_exact(&mut query)?;
        if let Some(reply) = reply(&query) {
            let len = (reply.len() as u16).to_be_bytes();
            stream.write_all(&[&len[..], &reply].concat())?;
        }
    }
}
