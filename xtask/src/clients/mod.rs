//! DNS clients that the suite `clients` runs in pods. Each group of clients has a folder in
//! `target/clients` and a variable in the suite's environment.

mod debian;
mod folder;
mod runtimes;

use anyhow::Result;

use self::folder::Variable;
use crate::{apt, exec};

/// The suite's environment: a variable for each group of clients that this machine has. The suite
/// names the clients that it skips. Without `all`, these are the clients of Debian, which take
/// seconds to install.
///
/// # Errors
/// When clients cannot be downloaded or built.
pub(crate) fn environment(all: bool) -> Result<Vec<Variable>> {
    let mut environment = Vec::new();
    if apt::is_usable() {
        environment.push(("HEADLESS_CLIENTS_DEBIAN".to_owned(), debian::clients()?));
    } else {
        exec::progress(
            "clients",
            "Debian's are left out: they need apt-get and root",
        );
    }
    if all {
        environment.extend(runtimes::environment()?);
    }
    Ok(environment)
}
