//! The options of an OPT record (RFC 6891, section 6.1.2): their checks, and the part of them
//! that a reply repeats.

use bytemuck::{Pod, Zeroable};

use crate::{
    abi::PassReason,
    verifier,
    wire::bytes::{Image, NameBytes},
};

/// Most options of a query that the engine reads.
pub const OPTIONS_MAX: usize = 4;

/// Most bytes of a query's options that the engine reads, codes and lengths included.
pub const OPTIONS_LEN_MAX: usize = 64;

/// Bytes of an option's code and length.
const OPTION_HEADER_LEN: usize = 4;

/// Codes of options (IANA, "DNS EDNS0 Option Codes (OPT)").
mod code {
    pub(super) const LLQ: u16 = 1;
    pub(super) const UPDATE_LEASE: u16 = 2;
    pub(super) const NSID: u16 = 3;
    pub(super) const CLIENT_SUBNET: u16 = 8;
    pub(super) const EXPIRE: u16 = 9;
    pub(super) const COOKIE: u16 = 10;
    pub(super) const TCP_KEEPALIVE: u16 = 11;
    pub(super) const PADDING: u16 = 12;
    pub(super) const EXTENDED_ERROR: u16 = 15;
    pub(super) const REPORT_CHANNEL: u16 = 18;
    pub(super) const ZONE_VERSION: u16 = 19;
}

/// The progress of reading options.
///
/// The numbers are read from memory (habit 1 of [`verifier`]).
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub struct Options {
    /// Offset in the image of the option that is read next.
    at: u32,
    /// Offset in the image behind the last option.
    end: u32,
    /// Bytes of the options that the reply repeats, as far as they have been read.
    echoed: u32,
    unused: u32,
}

impl Options {
    /// Reads the options at `at..end` of `image` as miekg/dns does (`edns.go`). Writes those
    /// that CoreDNS repeats in its reply (`supportedOptions` in `request/edns0.go`) to the start
    /// of `echo`, in the form in which miekg/dns writes them. Returns their length in bytes.
    ///
    /// [`PassReason::EdnsLength`] for more than [`OPTIONS_LEN_MAX`] bytes,
    /// [`PassReason::EdnsCount`] for more than [`OPTIONS_MAX`] options. Where miekg/dns refuses
    /// an option, [`PassReason::EdnsSubnet`] for a client subnet and [`PassReason::EdnsOption`]
    /// for any other.
    #[inline(always)]
    pub fn read(
        &mut self,
        image: &Image,
        at: usize,
        end: usize,
        echo: &mut NameBytes,
    ) -> Result<usize, PassReason> {
        if end.wrapping_sub(at) > OPTIONS_LEN_MAX {
            return Err(PassReason::EdnsLength);
        }
        (self.at, self.end, self.echoed) = (at as u32, end as u32, 0);
        for _ in 0..OPTIONS_MAX {
            let now = *verifier::reread(&mut *self);
            if now.at >= now.end {
                break;
            }
            self.read_option(now, image, echo)?;
        }
        let now = *verifier::reread(self);
        if now.at < now.end {
            return Err(PassReason::EdnsCount);
        }
        Ok(now.echoed as usize)
    }

    /// Reads the option at `now.at`.
    #[inline(always)]
    fn read_option(
        &mut self,
        now: Self,
        image: &Image,
        echo: &mut NameBytes,
    ) -> Result<(), PassReason> {
        let at = now.at as usize;
        let value = at + OPTION_HEADER_LEN;
        let len = usize::from(image.be16_at(at + 2));
        // A code without a whole length overruns the record with any length.
        if value + len > now.end as usize {
            return Err(PassReason::EdnsOption);
        }
        if let Some(kept) = echoed_len(image, at, value, len)? {
            // The bytes behind the option are overwritten by the next option or not sent.
            let to = now.echoed as usize;
            for i in 0..OPTIONS_LEN_MAX / 8 {
                echo.put_u64(to + i * 8, image.u64_at(at + i * 8));
            }
            echo.put_be16(to + 2, kept as u16);
            self.echoed = (to + OPTION_HEADER_LEN + kept) as u32;
        }
        self.at = (value + len) as u32;
        Ok(())
    }
}

/// How many bytes of the value of the option at `at` the reply repeats. `None` where the reply
/// does not repeat the option. The option's value has `len` bytes and is at `value`.
#[inline(always)]
fn echoed_len(
    image: &Image,
    at: usize,
    value: usize,
    len: usize,
) -> Result<Option<usize>, PassReason> {
    let is_valid = match image.be16_at(at) {
        code::NSID | code::COOKIE | code::PADDING => return Ok(Some(len)),
        code::EXPIRE | code::TCP_KEEPALIVE if len == 0 => return Ok(Some(0)),
        // miekg/dns cuts off what follows the four bytes of the time.
        code::EXPIRE if len >= 4 => return Ok(Some(4)),
        // miekg/dns writes a time of zero as an empty option.
        code::TCP_KEEPALIVE if len == 2 => {
            let is_zero = image.u16_at(value) == 0;
            return Ok(Some(if is_zero { 0 } else { 2 }));
        }
        // The value of a report channel is a name, which nobody puts into a query.
        code::EXPIRE | code::TCP_KEEPALIVE | code::REPORT_CHANNEL => false,
        code::LLQ => len >= 18,
        code::UPDATE_LEASE => len == 4 || len == 8,
        code::EXTENDED_ERROR | code::ZONE_VERSION => len >= 2,
        code::CLIENT_SUBNET if !is_subnet(image, value, len) => return Err(PassReason::EdnsSubnet),
        _ => true,
    };
    if is_valid {
        Ok(None)
    } else {
        Err(PassReason::EdnsOption)
    }
}

/// Whether miekg/dns can read the `len` bytes at `value` as a client subnet (RFC 7871, section
/// 6): the address family, and the lengths of the source and the scope prefix.
#[inline(always)]
fn is_subnet(image: &Image, value: usize, len: usize) -> bool {
    const NO_FAMILY: u16 = 0;
    const IPV4: u16 = 1;
    const IPV6: u16 = 2;
    let (source, scope) = (image.u8_at(value + 2), image.u8_at(value + 3));
    len >= 4
        && match image.be16_at(value) {
            // dig asks so with `+subnet=0`.
            NO_FAMILY => source == 0,
            IPV4 => source <= 32 && scope <= 32,
            IPV6 => source <= 128 && scope <= 128,
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::{vec, vec::Vec};

    use super::*;

    /// Reads options at an odd offset. Returns the options that the reply repeats.
    fn read(options: &[u8]) -> Result<Vec<u8>, PassReason> {
        const AT: usize = 77;
        let mut image = Image::default();
        image.as_mut_slice().fill(0xa5);
        image.as_mut_slice()[AT..][..options.len()].copy_from_slice(options);
        let mut echo = NameBytes::default();
        let end = AT + options.len();
        let len = Options::default().read(&image, AT, end, &mut echo)?;
        Ok(echo.as_slice()[..len].to_vec())
    }

    fn option(code: u16, value: &[u8]) -> Vec<u8> {
        let mut option = Vec::from(code.to_be_bytes());
        option.extend((value.len() as u16).to_be_bytes());
        option.extend(value);
        option
    }

    #[test]
    fn repeated_options_keep_their_order_and_their_number() {
        let cookie = option(10, &[1, 2, 3, 4, 5, 6, 7, 8]);
        let (nsid, padding) = (option(3, &[]), option(12, &[0; 5]));
        let unknown = option(65_001, b"abc");
        let all = [&cookie[..], &unknown, &padding, &cookie].concat();
        let expected = [&cookie[..], &padding, &cookie].concat();
        assert_eq!(read(&all), Ok(expected));
        assert_eq!(
            read(&[&nsid[..], &cookie].concat()),
            Ok([nsid, cookie].concat())
        );
        assert_eq!(read(&[]), Ok(vec![]));
    }

    #[test]
    fn the_most_options_and_bytes_are_read() {
        let most = option(10, &[7; OPTIONS_LEN_MAX - OPTION_HEADER_LEN]);
        assert_eq!(read(&most), Ok(most));
        let more = option(10, &[7; OPTIONS_LEN_MAX - OPTION_HEADER_LEN + 1]);
        assert_eq!(read(&more), Err(PassReason::EdnsLength));
        let four = option(12, &[1]).repeat(4);
        assert_eq!(read(&four), Ok(four));
        let five = option(12, &[1]).repeat(5);
        assert_eq!(read(&five), Err(PassReason::EdnsCount));
        // The last of the bytes are kept, too.
        let last = [option(3, &[9; 36]), option(12, &[8; 20])].concat();
        assert_eq!(last.len(), OPTIONS_LEN_MAX);
        assert_eq!(read(&last), Ok(last));
    }

    #[test]
    fn options_are_written_as_miekg_dns_writes_them() {
        assert_eq!(
            read(&option(9, &[1, 2, 3, 4, 5])),
            Ok(option(9, &[1, 2, 3, 4]))
        );
        assert_eq!(read(&option(9, &[])), Ok(option(9, &[])));
        assert_eq!(read(&option(11, &[0, 0])), Ok(option(11, &[])));
        assert_eq!(read(&option(11, &[0, 1])), Ok(option(11, &[0, 1])));
        // What follows a shortened option keeps its place behind it.
        let both = [option(9, &[1, 2, 3, 4, 5, 6, 7]), option(10, &[6; 8])].concat();
        let expected = [option(9, &[1, 2, 3, 4]), option(10, &[6; 8])].concat();
        assert_eq!(read(&both), Ok(expected));
    }

    #[test]
    fn options_that_miekg_dns_refuses_pass() {
        for (code, lens) in [
            (1, &[0, 17][..]),
            (2, &[0, 3, 5, 7, 9]),
            (9, &[1, 2, 3]),
            (11, &[1, 3, 4]),
            (15, &[0, 1]),
            (18, &[0, 5]),
            (19, &[0, 1]),
        ] {
            for len in lens {
                let found = read(&option(code, &vec![0; *len]));
                assert_eq!(found, Err(PassReason::EdnsOption), "{code}, {len} bytes");
            }
        }
        for (code, lens) in [
            (1, &[18, 20][..]),
            (2, &[4, 8]),
            (5, &[0, 3]),
            (15, &[2, 9]),
            (19, &[2, 6]),
        ] {
            for len in lens {
                let found = read(&option(code, &vec![0; *len]));
                assert_eq!(found, Ok(vec![]), "{code}, {len} bytes");
            }
        }
    }

    #[test]
    fn client_subnets_are_checked() {
        let cases: &[(&[u8], bool)] = &[
            (&[0, 0, 0, 0], true),
            (&[0, 0, 0, 9, 1], true),
            (&[0, 0, 1, 0], false),
            (&[0, 1, 24, 0, 10, 1, 2], true),
            (&[0, 1, 32, 32, 10, 1, 2, 3, 4], true),
            (&[0, 1, 33, 0, 10, 1, 2, 3, 4], false),
            (&[0, 1, 24, 33, 10, 1, 2], false),
            (&[0, 2, 128, 128], true),
            (&[0, 2, 129, 0], false),
            (&[0, 2, 56, 129], false),
            (&[0, 3, 0, 0], false),
            (&[1, 1, 24, 0], false),
            (&[0, 1, 24], false),
            (&[], false),
        ];
        for (value, is_valid) in cases {
            let expected = if *is_valid {
                Ok(vec![])
            } else {
                Err(PassReason::EdnsSubnet)
            };
            assert_eq!(read(&option(8, value)), expected, "{value:?}");
        }
    }

    #[test]
    fn options_that_overrun_the_record_pass() {
        let whole = option(10, &[1; 8]);
        for len in 1..whole.len() {
            assert_eq!(read(&whole[..len]), Err(PassReason::EdnsOption), "{len}");
            let behind = [&whole[..], &whole[..len]].concat();
            assert_eq!(read(&behind), Err(PassReason::EdnsOption), "{len}");
        }
        assert_eq!(read(&[0, 10, 0xff, 0xff]), Err(PassReason::EdnsOption));
    }
}
