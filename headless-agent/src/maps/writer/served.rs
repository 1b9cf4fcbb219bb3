//! The table of served addresses, see [`headless_ebpf::abi::ServedSlot`].

use headless_ebpf::abi::{Address, SERVED_PROBES, SERVED_SLOTS, ServedPlace, ServedSlot};

use super::Writer;
use crate::maps::store::{MapKind, RecordSink, SinkError};

impl<S: RecordSink> Writer<S> {
    /// Replaces the served addresses. Returns the addresses that find no slot, which the
    /// programs do not serve.
    ///
    /// # Errors
    /// When the kernel refuses to read or write a slot.
    pub fn serve(&mut self, addresses: &[Address]) -> Result<Vec<Address>, SinkError> {
        for at in 0..SERVED_SLOTS as u32 {
            let ServedSlot {
                address, number, ..
            } = self.sink.served_slot(at)?;
            if number != 0 && !addresses.contains(&address) {
                self.put_served(at, ServedSlot::default())?;
            }
        }
        let mut unplaced = Vec::new();
        for (number, address) in (1..).zip(addresses) {
            let slot = ServedSlot {
                address: *address,
                number,
                spare: 0,
            };
            match self.served_place(*address)? {
                Some((_, found)) if found == slot => {}
                Some((at, _)) => match self.put_served(at, slot) {
                    Err(SinkError::Full { .. }) => unplaced.push(*address),
                    result => result?,
                },
                None => unplaced.push(*address),
            }
        }
        let served = addresses.len() - unplaced.len();
        self.counts.set_entries(MapKind::Served, served as u64);
        Ok(unplaced)
    }

    /// Reads the served addresses, in their order.
    ///
    /// # Errors
    /// When the kernel refuses to read a slot.
    pub fn served(&self) -> Result<Vec<Address>, SinkError> {
        let slots = (0..SERVED_SLOTS as u32).map(|at| self.sink.served_slot(at));
        let mut slots = slots.collect::<Result<Vec<_>, _>>()?;
        slots.retain(|slot| slot.number != 0);
        slots.sort_unstable_by_key(|slot| slot.number);
        Ok(slots.iter().map(|slot| slot.address).collect())
    }

    /// The slot of an address, or else the first free slot in which the address may be.
    fn served_place(&self, address: Address) -> Result<Option<(u32, ServedSlot)>, SinkError> {
        let place = ServedPlace::of(&self.config.hash_key, address);
        let mut free = None;
        for probe in 0..SERVED_PROBES {
            let at = place.slot(probe);
            let slot = self.sink.served_slot(at)?;
            if slot.number == 0 {
                free = free.or(Some((at, slot)));
            } else if slot.address == address {
                return Ok(Some((at, slot)));
            }
        }
        Ok(free)
    }

    fn put_served(&mut self, at: u32, slot: ServedSlot) -> Result<(), SinkError> {
        let put = self.sink.put_served_slot(at, slot);
        put.inspect_err(|error| self.counts.failure(error))?;
        self.counts.wrote(1);
        Ok(())
    }
}
