//! The programs that an interface carries, read from the kernel: XDP from rtnetlink's list of
//! interfaces, tc from the list of filters. The kernel lists tcx programs only for
//! `CAP_SYS_ADMIN`; see `tcx`.

use anyhow::Context as _;
use aya::programs::ProgramError;
use aya::programs::tc::TcError;
use futures::TryStreamExt as _;
use netlink_packet_core::{DefaultNla, Nla as _, NlasIterator};
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage, TcOption};
use rtnetlink::Handle;

use crate::datapath::links::Link;

/// Attributes of a filter of kind `bpf` (`include/uapi/linux/pkt_cls.h`).
pub(super) mod tca_bpf {
    pub(crate) const FD: u16 = 6;
    pub(crate) const NAME: u16 = 7;
    pub(crate) const FLAGS: u16 = 8;
    pub(crate) const ID: u16 = 11;
}

/// The result of the attempt to make an interface carry a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ensured {
    /// The program was there.
    Kept,
    /// The program was put there.
    Attached,
    /// The program had been taken off by somebody else, and was put there again.
    Restored,
    /// Another program is there and was left alone.
    Foreign,
    /// The interface was deleted or renamed meanwhile; an event about it is on its way.
    Stale,
    /// The kernel refused.
    Failed(String),
}

impl Ensured {
    /// The result if a call to the kernel failed.
    pub(super) fn failed(error: &anyhow::Error) -> Self {
        match errno(error) {
            Some(libc::ENODEV) => Self::Stale,
            _ => Self::Failed(format!("{error:#}")),
        }
    }
}

/// The error number that the kernel gave.
pub(super) fn errno(error: &anyhow::Error) -> Option<i32> {
    error.chain().find_map(|cause| {
        if let Some(error) = cause.downcast_ref() {
            return errno_of_program(error);
        }
        if let Some(rtnetlink::Error::NetlinkError(error)) = cause.downcast_ref() {
            return Some(-error.raw_code());
        }
        None
    })
}

/// The error number in an error of aya, which keeps its causes out of the chain.
fn errno_of_program(error: &ProgramError) -> Option<i32> {
    match error {
        ProgramError::SyscallError(error) => error.io_error.raw_os_error(),
        ProgramError::TcError(TcError::IoError(error)) => error.raw_os_error(),
        _ => None,
    }
}

/// The XDP programs of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum XdpInstalled {
    /// There is none.
    Nothing,
    /// Ours is there.
    Ours,
    /// Only other programs are there.
    Foreign,
}

/// The XDP programs of an interface; `ours` is the id of our program.
pub(super) fn xdp(link: &Link, ours: u32) -> XdpInstalled {
    if link.programs.contains(&ours) {
        XdpInstalled::Ours
    } else if link.programs.is_empty() {
        XdpInstalled::Nothing
    } else {
        XdpInstalled::Foreign
    }
}

/// A filter of the clsact qdisc.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Filter {
    /// Its number among the filters of its preference.
    pub(super) handle: TcHandle,
    /// Preference and protocol.
    pub(super) info: u32,
    /// Name of its BPF program.
    pub(super) name: Option<String>,
    /// Id of its BPF program.
    pub(super) program: Option<u32>,
}

/// One side of the clsact qdisc.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Packets that the interface receives.
    Ingress,
    /// Packets that it sends.
    Egress,
}

/// The filters of one side of an interface's clsact qdisc; none where there is no qdisc,
/// or no interface.
pub(super) async fn filters(
    handle: &Handle,
    index: i32,
    side: Side,
) -> anyhow::Result<Vec<Filter>> {
    let mut filters = handle.traffic_filter(index);
    let request = match side {
        Side::Ingress => filters.get().ingress(),
        Side::Egress => filters.get().egress(),
    };
    let listed = request.execute().map_ok(|message| Filter::read(&message));
    let mut filters: Vec<Filter> = listed
        .try_collect()
        .await
        .context("cannot list the filters of an interface")?;
    // Each preference has a line of its own without a filter.
    filters.retain(|filter| filter.handle != TcHandle::UNSPEC);
    Ok(filters)
}

impl Filter {
    fn read(message: &TcMessage) -> Self {
        let mut filter = Self {
            handle: message.header.handle,
            info: message.header.info,
            ..Self::default()
        };
        let mut is_bpf = false;
        for attribute in &message.attributes {
            match attribute {
                TcAttribute::Kind(kind) => is_bpf = kind == "bpf",
                TcAttribute::Options(options) if is_bpf => {
                    for option in options {
                        if let TcOption::Other(nested) = option {
                            filter.read_options(nested);
                        }
                    }
                }
                _ => {}
            }
        }
        filter
    }

    /// Reads `TCA_OPTIONS`, which the library leaves as it is for this kind.
    fn read_options(&mut self, nested: &DefaultNla) {
        let mut bytes = vec![0; nested.value_len()];
        nested.emit_value(&mut bytes);
        for option in NlasIterator::new(bytes.as_slice()).flatten() {
            let value = option.value();
            match option.kind() {
                tca_bpf::NAME => {
                    let name = value.split(|byte| *byte == 0).next().unwrap_or_default();
                    self.name = Some(String::from_utf8_lossy(name).into_owned());
                }
                tca_bpf::ID => {
                    self.program = value.first_chunk().copied().map(u32::from_ne_bytes);
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_xdp_program_is_told_from_others() {
        let carrying = |programs: &[u32]| Link {
            programs: programs.to_vec(),
            ..Link::named(7, "veth7")
        };
        assert_eq!(xdp(&carrying(&[]), 44), XdpInstalled::Nothing);
        assert_eq!(xdp(&carrying(&[44, 44]), 44), XdpInstalled::Ours);
        assert_eq!(xdp(&carrying(&[45]), 44), XdpInstalled::Foreign);
        // Beside a program in the network card.
        assert_eq!(xdp(&carrying(&[45, 44]), 44), XdpInstalled::Ours);
    }

    #[test]
    fn a_filter_names_its_program() {
        let attribute = |kind: u16, value: &[u8]| {
            let len = u16::try_from(4 + value.len()).unwrap_or_default();
            let mut bytes = [len.to_ne_bytes(), kind.to_ne_bytes()].concat();
            bytes.extend(value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        };
        let options = [
            attribute(tca_bpf::NAME, b"headless_tc\0"),
            attribute(tca_bpf::ID, &77_u32.to_ne_bytes()),
        ];
        let mut message = TcMessage::with_index(3);
        message.header.handle = TcHandle { major: 0, minor: 1 };
        message.header.info = 0x0001_0300;
        message.attributes = vec![
            TcAttribute::Kind("bpf".into()),
            TcAttribute::Options(vec![TcOption::Other(DefaultNla::new(2, options.concat()))]),
        ];
        let expected = Filter {
            handle: TcHandle { major: 0, minor: 1 },
            info: 0x0001_0300,
            name: Some("headless_tc".into()),
            program: Some(77),
        };
        assert_eq!(Filter::read(&message), expected);
        message.attributes[0] = TcAttribute::Kind("matchall".into());
        assert_eq!(Filter::read(&message).name, None, "another kind");
    }
}
