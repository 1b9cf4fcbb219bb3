//! Log lines about the programs on an interface, each once and not at every comparison.

use tracing::{info, warn};

use crate::datapath::links::Link;
use crate::datapath::snapshot::{Attachment, ProgramState};

/// Logs how the states of an interface differ from those before.
pub(super) fn changes(before: Option<&Attachment>, now: &Attachment) {
    let Attachment { name, ifindex, .. } = now;
    if let Some(before) = before
        && before.name != *name
    {
        info!(interface = name, ifindex, "renamed from {}", before.name);
    }
    let before_tc = before.map(|it| &it.tc);
    if now.tc == ProgramState::Uplink {
        if before_tc != Some(&now.tc) {
            info!(
                interface = name,
                ifindex, "carries a default route, so it gets no programs without --serve-uplink"
            );
        }
        return;
    }
    if now.tc == ProgramState::Off {
        if before_tc != Some(&now.tc) {
            info!(
                interface = name,
                ifindex, "gets no programs: its mode is off"
            );
        }
        return;
    }
    for (program, state, before) in [
        ("xdp", &now.xdp, before.map(|it| &it.xdp)),
        ("tc", &now.tc, before_tc),
    ] {
        if before != Some(state) {
            change(now, program, state);
        }
    }
}

fn change(attachment: &Attachment, program: &str, state: &ProgramState) {
    let Attachment { name, ifindex, .. } = attachment;
    match state {
        ProgramState::Unused | ProgramState::Uplink | ProgramState::Off => {}
        ProgramState::Attached => info!(interface = name, ifindex, "{program} attached"),
        ProgramState::Observing => info!(
            interface = name,
            ifindex, "{program} attached; it counts the questions that it would answer"
        ),
        ProgramState::Lifted => info!(
            interface = name,
            ifindex, "{program} taken off while the pod sends much"
        ),
        ProgramState::Foreign => warn!(
            interface = name,
            ifindex, "carries another {program} program, which is left alone"
        ),
        ProgramState::Refused(reason) => {
            warn!(interface = name, ifindex, "{program} refused: {reason}");
        }
        ProgramState::Failed(reason) => {
            warn!(
                interface = name,
                ifindex, "{program} not attached: {reason}"
            );
        }
    }
}

/// Logs that a program was there again after somebody else had taken it off.
pub(super) fn restored(link: &Link, program: &str) {
    warn!(
        interface = link.name,
        ifindex = link.index,
        "somebody removed the {program} program; attached again (further removals are only \
         counted)"
    );
}
