//! Writes resource records: the header that all records have (RFC 1035, section 4.1.3), and
//! two records whose RDATA is mostly constant, SOA and the version's TXT.

use super::numbers::{CLASS_IN, QUESTION_NAME, qtype};
use crate::wire::bytes::Image;

/// Bytes of a record before its RDATA: the owner name as a compression pointer (2), type (2),
/// class (2), TTL (4), length of the RDATA (2).
pub const RECORD_HEADER_LEN: usize = 12;

/// The bytes of a record before its RDATA, as the twelve lowest bytes of a number.
#[derive(Clone, Copy, Debug)]
pub struct RecordHeader(u128);

impl RecordHeader {
    /// The header of a record of class IN. `owner` is the owner name as a compression pointer
    /// ([`super::pointer`]), `ttl` is in seconds, `data_len` is the length of the RDATA in
    /// bytes.
    #[inline(always)]
    pub const fn new(owner: u16, rtype: u16, ttl: u32, data_len: u16) -> Self {
        let low = owner.swap_bytes() as u64
            | (rtype.swap_bytes() as u64) << 16
            | (CLASS_IN.swap_bytes() as u64) << 32;
        let ttl = ttl.swap_bytes() as u128;
        let data_len = data_len.swap_bytes() as u128;
        Self(low as u128 | ttl << 48 | data_len << 80)
    }

    /// Writes the header at `at`.
    #[inline(always)]
    pub fn put(self, image: &mut Image, at: usize) {
        image.put_u64(at, self.0 as u64);
        image.put_u32(at + 8, (self.0 >> 64) as u32);
    }

    /// Writes the header and the first four bytes of the RDATA at `at`. `data` holds the first
    /// of these bytes in its lowest byte.
    #[inline(always)]
    pub fn put_with(self, image: &mut Image, at: usize, data: u32) {
        image.put_u128(at, self.0 | u128::from(data) << 96);
    }
}

/// Bytes of the SOA record that [`Soa::put`] writes.
pub const SOA_LEN: usize = RECORD_HEADER_LEN + SOA_DATA_LEN;

const SOA_DATA_LEN: usize = 42;

/// The zone's SOA record as CoreDNS writes it (`backend_lookup.go`, `SOA`): `ns.dns.<zone>`,
/// `hostmaster.<zone>`, refresh 7200, retry 1800, expire 86400.
#[derive(Clone, Copy, Debug)]
pub struct Soa {
    /// A compression pointer to the zone in the question. All three names of the record then
    /// have the case in which the client wrote the zone.
    pub zone: u16,
    /// TTL of the record in seconds.
    pub ttl: u32,
    /// Serial: unix time of the cluster's last change in seconds.
    pub serial: u32,
    /// TTL of negative answers in seconds (RFC 2308, section 4).
    pub minimum: u32,
}

impl Soa {
    /// Writes the record at `at`: [`SOA_LEN`] bytes and two zeros behind them, since the writes
    /// are whole words. The compiler would copy an array of bytes one by one.
    #[inline(always)]
    pub fn put(self, image: &mut Image, at: usize) {
        let Self {
            zone,
            ttl,
            serial,
            minimum,
        } = self;
        let header = RecordHeader::new(zone, qtype::SOA, ttl, SOA_DATA_LEN as u16);
        header.put_with(image, at, u32::from_le_bytes(*b"\x02ns\x03"));
        let Some(data) = image.window_mut::<{ SOA_REST.len() }>(at + RECORD_HEADER_LEN + 4) else {
            return;
        };
        let zone = u64::from(zone.swap_bytes());
        let [serial, minimum] = [serial, minimum].map(|it| u64::from(it.swap_bytes()));
        // Variable bytes: the zone at 3 and 16, the serial at 18, the minimum at 34.
        let fields = [zone << 24, 0, zone | serial << 16, 0, minimum << 16];
        let words = data.as_chunks_mut().0.iter_mut();
        for ((to, constant), field) in words.zip(SOA_REST.as_chunks().0).zip(fields) {
            *to = (u64::from_le_bytes(*constant) | field).to_le_bytes();
        }
    }
}

/// The RDATA of an SOA record after its first four bytes. Variable bytes and the two bytes
/// behind the record are zero.
const SOA_REST: &[u8; 40] = b"dns\0\0\x0ahostmaster\0\0\
    \0\0\0\0\0\0\x1c\x20\0\0\x07\x08\0\x01\x51\x80\0\0\0\0\0\0";

/// Bytes of the TXT record that [`put_version`] writes.
pub const VERSION_LEN: usize = RECORD_HEADER_LEN + VERSION_DATA_LEN;

const VERSION_DATA_LEN: usize = 6;

/// The version of the Kubernetes DNS specification as a character string: `\51.1.0`.
const VERSION: (u32, u16) = (u32::from_le_bytes(*b"\x051.1"), u16::from_le_bytes(*b".0"));

/// Writes the TXT record with the version of the specification at `at`, with the question's
/// name as the owner name (Kubernetes DNS specification, section 2.2).
#[inline(always)]
pub fn put_version(image: &mut Image, at: usize, ttl: u32) {
    let data_len = VERSION_DATA_LEN as u16;
    let header = RecordHeader::new(QUESTION_NAME, qtype::TXT, ttl, data_len);
    header.put_with(image, at, VERSION.0);
    image.put_u16(at + RECORD_HEADER_LEN + 4, VERSION.1);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(len: usize, put: impl Fn(&mut Image)) -> Image {
        let mut image = Image::default();
        image.as_mut_slice().fill(0xdd);
        put(&mut image);
        assert_eq!(image.u8_at(99), 0xdd);
        assert_eq!(image.u8_at(100 + len + 6), 0xdd);
        image
    }

    #[test]
    fn an_soa_is_as_coredns_has_it() {
        let image = written(SOA_LEN, |image| {
            let soa = Soa {
                zone: 0xc01d,
                ttl: 0x0102_0304,
                serial: 0x0506_0708,
                minimum: 0x090a_0b0c,
            };
            soa.put(image, 100);
        });
        assert_eq!(
            &image.as_slice()[100..][..SOA_LEN],
            b"\xc0\x1d\0\x06\0\x01\x01\x02\x03\x04\0\x2a\
              \x02ns\x03dns\xc0\x1d\x0ahostmaster\xc0\x1d\
              \x05\x06\x07\x08\0\0\x1c\x20\0\0\x07\x08\0\x01\x51\x80\x09\x0a\x0b\x0c"
        );
    }

    #[test]
    fn a_version_is_a_text() {
        let image = written(VERSION_LEN, |image| put_version(image, 100, 28_800));
        assert_eq!(
            &image.as_slice()[100..][..VERSION_LEN],
            b"\xc0\x0c\0\x10\0\x01\0\0\x70\x80\0\x06\x051.1.0"
        );
    }

    #[test]
    fn a_header_alone_leaves_the_data() {
        let image = written(RECORD_HEADER_LEN, |image| {
            RecordHeader::new(0xc00c, qtype::PTR, 30, 0x0102).put(image, 100);
        });
        assert_eq!(
            &image.as_slice()[100..][..13],
            b"\xc0\x0c\0\x0c\0\x01\0\0\0\x1e\x01\x02\xdd"
        );
    }
}
