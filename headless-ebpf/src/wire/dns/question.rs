//! Reads the question of a query: whether the engine understands the message, whether the name
//! is in the zone, and where its labels begin.

use bytemuck::{Pod, Zeroable};

use super::{
    header::check_query,
    name::{LabelOffsets, fold},
    numbers::{CLASS_IN, DNS_HEADER_LEN, LABEL_LEN_MAX, LABELS_MAX, NAME_LEN_MAX, OPT_LEN},
    opt::Edns,
};
use crate::{
    abi::{Config, PassReason},
    verifier,
    wire::bytes::Image,
};

/// Bytes of a question's type and class.
pub const QUESTION_FIXED_LEN: usize = 4;

/// A question for a name in the zone, of class IN or as in [`Config::any_class`].
///
/// The numbers are read from memory (habit 1 of [`verifier`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Question {
    /// Length of the name in bytes, root included.
    pub name_len: u32,
    /// Offset of the zone in the name.
    pub zone: u32,
    /// Offsets of the labels before the zone, once [`Self::walk`] has found them.
    pub labels: LabelOffsets,
    /// Question type.
    pub qtype: u16,
    /// The query's OPT record.
    pub edns: Edns,
}

impl Question {
    /// Reads the message `start..end` of `image` as a query for a name that ends with the zone of
    /// `config`. `with_opt` is the result of [`has_opt`]. Returns `false` where the message is no
    /// such query, and [`pass_reason`] then says why.
    ///
    /// An OPT record must be the last [`OPT_LEN`] bytes of the message, whatever options it had.
    /// So the length of the message gives the length of the name and the offset of the zone, and
    /// a name outside the zone costs two comparisons. [`Self::walk`] reads the labels before the
    /// zone.
    #[inline(always)]
    pub fn parse(
        &mut self,
        image: &Image,
        start: usize,
        end: usize,
        with_opt: bool,
        config: &Config,
    ) -> bool {
        let name = start + DNS_HEADER_LEN;
        let opt_len = if with_opt { OPT_LEN } else { 0 };
        let fixed = name + QUESTION_FIXED_LEN + opt_len;
        let name_len = end.wrapping_sub(fixed);
        let zone_at = name_len.wrapping_sub(config.zone_len as usize);
        // A name that is too short wraps around, so that one comparison finds names that are too
        // short or too long.
        if name_len > NAME_LEN_MAX || zone_at >= NAME_LEN_MAX {
            return false;
        }
        self.name_len = name_len as u32;
        self.zone = zone_at as u32;
        if !ends_in_zone(image, name + zone_at, config) {
            return false;
        }
        // Habit 1 of `verifier`: the loop in `ends_in_zone` has compared this number.
        let after = name + verifier::reread(&mut *self).name_len as usize;
        let fixed = image.u32_at(after);
        if fixed >> 16 != u32::from(CLASS_IN.swap_bytes()) && config.any_class == 0 {
            return false;
        }
        self.qtype = (fixed as u16).swap_bytes();
        self.edns = Edns::absent();
        if with_opt {
            let Some(edns) = Edns::parse(image, after + QUESTION_FIXED_LEN) else {
                return false;
            };
            self.edns = edns.lowered(config.edns_max);
        }
        true
    }

    /// Finds the labels before the zone in the name of the message at offset `start`. Returns
    /// `false` where a label is too long, where it is a compression pointer or the root, or where
    /// the zone does not begin with a label. [`pass_reason`] then says why.
    #[inline(always)]
    pub fn walk(&mut self, image: &Image, start: usize) -> bool {
        let name = start + DNS_HEADER_LEN;
        let zone_at = verifier::reread(&mut *self).zone as usize;
        let mut labels = LabelOffsets::default();
        let mut at = 0;
        for _ in 0..LABELS_MAX {
            if at >= zone_at {
                break;
            }
            let len = usize::from(image.u8_at(name + at));
            if len == 0 || len > LABEL_LEN_MAX {
                return false;
            }
            labels = labels.push(at);
            at += 1 + len;
        }
        self.labels = labels;
        at == zone_at
    }
}

/// The header's four counts where the message has one question and no record.
const ONE_QUESTION: u64 = u64::from_le_bytes([0, 1, 0, 0, 0, 0, 0, 0]);
/// The header's four counts where the message has one question and one additional record.
const ONE_QUESTION_AND_ADDITIONAL: u64 = u64::from_le_bytes([0, 1, 0, 0, 0, 0, 0, 1]);

/// Whether the query at offset `start` has a record behind the question, which can only be an
/// OPT record. Returns an error where the header decides that the query passes.
#[inline(always)]
pub fn has_opt(image: &Image, start: usize) -> Result<bool, PassReason> {
    check_query(image, start)?;
    match image.u64_at(start + 4) {
        ONE_QUESTION => Ok(false),
        ONE_QUESTION_AND_ADDITIONAL => Ok(true),
        _ => Err(PassReason::Counts),
    }
}

/// Whether the zone is at `offset`. Case does not matter.
#[inline(always)]
pub fn ends_in_zone(image: &Image, offset: usize, config: &Config) -> bool {
    let words = (config.zone_len as usize).div_ceil(8);
    let mut difference = 0;
    for (i, (zone, mask)) in config.zone.iter().zip(&config.zone_mask).enumerate() {
        if i >= words {
            break;
        }
        difference |= (fold(image.u64_at(offset + i * 8)) ^ zone) & mask;
    }
    difference == 0
}

/// The reason why [`Question::parse`] or [`Question::walk`] has refused a message. This function
/// reads the name label by label to its end. Only refused messages pay for that.
///
/// [`PassReason::OutsideZone`] where the message is well-formed.
#[inline(always)]
pub fn pass_reason(image: &Image, start: usize, end: usize, config: &Config) -> PassReason {
    let with_opt = image.u8_at(start + DNS_HEADER_LEN - 1) != 0;
    let Some(name_end) = name_end(image, start, end) else {
        return PassReason::Name;
    };
    let after = name_end + QUESTION_FIXED_LEN;
    if after > end {
        PassReason::Length
    } else if image.be16_at(after - 2) != CLASS_IN && config.any_class == 0 {
        PassReason::Class
    } else if with_opt && end - after != OPT_LEN {
        PassReason::Edns
    } else if with_opt && Edns::parse(image, after).is_none() {
        PassReason::EdnsVersion
    } else if !with_opt && after != end {
        PassReason::Trailing
    } else {
        PassReason::OutsideZone
    }
}

/// Offset behind the name of the question of the message `start..end`. `None` where a label is too
/// long or a compression pointer, or where the name does not end.
#[inline(always)]
pub fn name_end(image: &Image, start: usize, end: usize) -> Option<usize> {
    let name = start + DNS_HEADER_LEN;
    let mut at = 0;
    for _ in 0..=LABELS_MAX {
        if at >= NAME_LEN_MAX || name + at >= end {
            return None;
        }
        let len = usize::from(image.u8_at(name + at));
        if len == 0 {
            return Some(name + at + 1);
        }
        if len > LABEL_LEN_MAX {
            return None;
        }
        at += 1 + len;
    }
    None
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use super::*;
    use crate::abi::{HashKey, PodsMode};

    /// A query for a name in wire form. `rest` has type and class and the bytes behind them.
    fn message(flags: u16, counts: [u16; 4], name: &[u8], rest: &[u8]) -> (Image, usize) {
        let mut bytes = Vec::from([0x12, 0x34]);
        bytes.extend(flags.to_be_bytes());
        for count in counts {
            bytes.extend(count.to_be_bytes());
        }
        bytes.extend(name);
        bytes.extend(rest);
        let mut image = Image::default();
        image.as_mut_slice()[..bytes.len()].copy_from_slice(&bytes);
        (image, bytes.len())
    }

    fn config() -> Config {
        let key = HashKey::from_seed(1);
        Config::new("cluster.local", 30, PodsMode::Insecure, &key).unwrap()
    }

    fn parse(
        flags: u16,
        counts: [u16; 4],
        name: &[u8],
        rest: &[u8],
    ) -> Result<Question, PassReason> {
        let config = config();
        let (image, end) = message(flags, counts, name, rest);
        let mut question = Question::default();
        let with_opt = has_opt(&image, 0)?;
        if question.parse(&image, 0, end, with_opt, &config) && question.walk(&image, 0) {
            Ok(question)
        } else {
            Err(pass_reason(&image, 0, end, &config))
        }
    }

    /// Flags, counts, name, the bytes behind the name, and the expected reason.
    type Case<'a> = (u16, [u16; 4], &'a [u8], &'a [u8], PassReason);

    const ONE: [u16; 4] = [1, 0, 0, 0];
    const A_IN: &[u8] = &[0, 1, 0, 1];

    #[test]
    fn finds_labels_from_the_right() {
        let question = parse(
            0x0100,
            ONE,
            b"\x01a\x02bc\x03svc\x07CLUSTER\x05local\0",
            A_IN,
        )
        .unwrap();
        assert_eq!(question.zone, 9);
        assert_eq!(question.name_len, 24);
        assert_eq!(question.qtype, 1);
        assert!(!question.edns.is_present());
        let starts = [0, 1, 2].map(|n| question.labels.from_right(n));
        assert_eq!(starts, [5, 2, 0]);
    }

    #[test]
    fn the_zone_itself_has_no_labels_before_it() {
        let question = parse(0, ONE, b"\x07cluster\x05local\0", A_IN).unwrap();
        assert_eq!(
            (question.zone, question.labels),
            (0, LabelOffsets::default())
        );
    }

    #[test]
    fn the_zone_must_start_at_a_label() {
        // The last bytes are the zone, but within a label.
        let name = b"\x10a\x07cluster\x05local\0\0";
        assert_eq!(
            parse(0, ONE, name, A_IN).unwrap_err(),
            PassReason::OutsideZone
        );
        let name = b"\x04abcd\x09a\x07cluster\x05local\0";
        assert!(parse(0, ONE, name, A_IN).is_err());
    }

    #[test]
    fn every_reason_has_a_message() {
        let web = b"\x03web\x07cluster\x05local\0";
        let long = [b"\x40".as_slice(), &[b'a'; 64], b"\x07cluster\x05local\0"].concat();
        let opt = |version: u8, options: u8| {
            let mut rest = Vec::from(A_IN);
            rest.extend([0, 0, 41, 4, 208, 0, version, 0x80, 0, 0, options]);
            rest.extend(std::iter::repeat_n(0, usize::from(options)));
            rest
        };
        let cases: &[Case<'_>] = &[
            (0x8000, ONE, web, A_IN, PassReason::Response),
            (0x2800, ONE, web, A_IN, PassReason::Opcode),
            (0x0200, ONE, web, A_IN, PassReason::Truncated),
            (0, [0, 0, 0, 0], web, A_IN, PassReason::Counts),
            (0, [2, 0, 0, 0], web, A_IN, PassReason::Counts),
            (0, [1, 1, 0, 0], web, A_IN, PassReason::Counts),
            (0, [1, 0, 0, 2], web, A_IN, PassReason::Counts),
            (0, ONE, web, &[0, 1, 0, 3], PassReason::Class),
            (0, ONE, web, &[0, 1], PassReason::Length),
            (0, ONE, web, &[0, 1, 0, 1, 0], PassReason::Trailing),
            (0, ONE, &long, A_IN, PassReason::Name),
            (0, ONE, b"\x03web\xc0\x0c", A_IN, PassReason::Name),
            (
                0,
                ONE,
                b"\x07example\x03com\0",
                A_IN,
                PassReason::OutsideZone,
            ),
            (0, [1, 0, 0, 1], web, &opt(1, 0), PassReason::EdnsVersion),
            (0, [1, 0, 0, 1], web, &opt(0, 4), PassReason::Edns),
        ];
        for (flags, counts, name, rest, reason) in cases {
            let found = parse(*flags, *counts, name, rest);
            assert_eq!(found.unwrap_err(), *reason, "{name:x?} {rest:x?}");
        }
        let question = parse(0, [1, 0, 0, 1], web, &opt(0, 0)).unwrap();
        assert_eq!((question.edns.size, question.edns.flags), (1232, 0x8000));
    }

    #[test]
    fn any_class_is_read_where_the_configuration_says_so() {
        let mut config = config();
        let name = b"\x03web\x07cluster\x05local\0";
        for class in [0, 1, 3, 254, 255, 0x0100] {
            let [high, low] = u16::to_be_bytes(class);
            let (image, end) = message(0, ONE, name, &[0, 1, high, low]);
            for any_class in [0, 1] {
                config.any_class = any_class;
                let is_read = Question::default().parse(&image, 0, end, false, &config);
                assert_eq!(is_read, class == 1 || any_class == 1, "class {class}");
                let reason = if is_read {
                    PassReason::OutsideZone
                } else {
                    PassReason::Class
                };
                assert_eq!(pass_reason(&image, 0, end, &config), reason);
            }
        }
    }

    #[test]
    fn names_of_the_greatest_length_are_read() {
        let mut name = Vec::new();
        while name.len() + 2 <= 255 - 15 {
            name.extend(b"\x01a");
        }
        name.extend(b"\x07cluster\x05local\0");
        assert_eq!(name.len(), 255);
        let question = parse(0, ONE, &name, A_IN).unwrap();
        assert_eq!(question.name_len, 255);
        assert_eq!(question.labels.from_right(0), 238);
        name.splice(0..0, *b"\x01a");
        assert_eq!(parse(0, ONE, &name, A_IN).unwrap_err(), PassReason::Name);
    }
}
