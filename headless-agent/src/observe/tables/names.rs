//! The names as people read them, one line each.

use super::list;
use crate::observe::dump::{Data, Name};
use crate::watch::Printable;

/// Addresses that a line shows.
const ADDRESSES_SHOWN_MAX: usize = 4;

/// The head of the lines of [`name`].
pub(in crate::observe) fn head() -> String {
    row("NAME", "MAP", "KERNEL", "FLAGS", "ADDRESSES")
}

/// A line for the name as the index has it, and one more where the kernel has it otherwise.
/// Columns have fixed widths, so that the first line can be shown before the last is known.
pub(in crate::observe) fn name(name: &Name) -> String {
    let state = match (&name.index, &name.kernel, name.current) {
        (_, _, true) => "current",
        (Some(_), None, _) => "missing",
        (None, Some(_), _) => "stale",
        _ => "differs",
    };
    let map = name.map.as_deref().unwrap_or("-");
    let mut text = String::new();
    if let Some(shown) = name.index.as_ref().or(name.kernel.as_ref()) {
        text += &data_row(&name.name, map, state, shown);
    }
    // The kernel's data, below the index's.
    if let (Some(_), Some(kernel), false) = (&name.index, &name.kernel, name.current) {
        let damage = kernel.damage.as_deref().unwrap_or("has");
        text += &data_row("", "", damage, kernel);
    }
    text
}

fn data_row(name: &str, map: &str, state: &str, data: &Data) -> String {
    let ipv4 = data.ipv4.iter().map(ToString::to_string);
    let addresses = ipv4.chain(data.ipv6.iter().map(ToString::to_string));
    let shown = list(addresses.take(ADDRESSES_SHOWN_MAX));
    let number = data.ipv4.len() + data.ipv6.len();
    let shown = match number.saturating_sub(ADDRESSES_SHOWN_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    };
    row(name, map, state, &data.flags.join(","), &shown)
}

fn row(name: &str, map: &str, state: &str, flags: &str, addresses: &str) -> String {
    let name = Printable(name).to_string();
    let line = format!("{name:<44} {map:<12} {state:<8} {flags:<10} {addresses}");
    line.trim_end().to_owned() + "\n"
}
