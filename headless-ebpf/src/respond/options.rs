//! Takes the options out of a query's OPT record, so that every other step sees a message whose
//! OPT record has none.

use super::request::Request;
use crate::{
    abi::PassReason,
    verifier::Slot,
    wire::{
        Image, NameBytes,
        dns::{
            DNS_HEADER_LEN, Edns, OPT_LEN, Options, QUESTION_FIXED_LEN, ends_in_zone, name_end,
            qtype,
        },
    },
};

/// The OPT record of a query, and the working memory for its options.
pub(super) struct OptRecord<'a, L> {
    pub(super) request: Request<'a, L>,
    /// Offset behind the message.
    pub(super) end: usize,
    pub(super) image: &'a mut Image,
    /// Memory for offsets, and for the offset behind the message without options.
    pub(super) len: &'a mut Slot,
    pub(super) reader: &'a mut Options,
    /// Memory for the reply's options.
    pub(super) options: &'a mut NameBytes,
}

impl<L> OptRecord<'_, L> {
    /// Reads the options, and stores the offset behind the message without them. The OPT record
    /// in the image then holds how many bytes of options the reply repeats.
    ///
    /// [`PassReason::OutsideZone`] where the name is outside the zone and the question is not
    /// for a reverse name, whatever the options are. [`PassReason::Edns`] where the record that
    /// follows the question is not an OPT record or does not end with the message. The reasons
    /// of [`Options::read`] for its options.
    #[inline(always)]
    pub(super) fn read(&mut self) -> Result<(), PassReason> {
        let Request { start, config, .. } = self.request;
        let Some(name_end) = name_end(self.image, start, self.end) else {
            return Err(PassReason::Name);
        };
        // The loop that found the name's end has compared this number.
        let after = self.len.store_and_read(name_end);
        let opt = after + QUESTION_FIXED_LEN;
        if opt > self.end {
            return Err(PassReason::Length);
        }
        if self.image.be16_at(after) != qtype::PTR {
            let zone = after.wrapping_sub(config.zone_len as usize);
            if zone < start + DNS_HEADER_LEN || !ends_in_zone(self.image, zone, config) {
                return Err(PassReason::OutsideZone);
            }
        }
        let opt = self.len.read() + QUESTION_FIXED_LEN;
        if Edns::options_end(self.image, opt) != Some(self.end) {
            return Err(PassReason::Edns);
        }
        let at = opt + OPT_LEN;
        let echoed = self.reader.read(self.image, at, self.end, self.options)?;
        let opt = self.len.read() + QUESTION_FIXED_LEN;
        Edns::put_echoed_len(self.image, opt, echoed);
        self.len.store_and_read(opt + OPT_LEN);
        Ok(())
    }
}
