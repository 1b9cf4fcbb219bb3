//! Proxies, which resolve the names of their upstream servers themselves.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use super::{Needs, Profile};
use crate::site::{DEBIAN, Site, View, debian, view};

/// nginx names the upstream addresses that it tried, none of which can be reached.
fn nginx(site: &Site<'_>) -> View {
    let file = site.file("nginx.conf", include_str!("nginx.conf"));
    let mut command = site.command(debian("usr/sbin/nginx"));
    command.args(["-c", &file, "-e", &site.path("log"), "-p", &site.path("")]);
    let _nginx = site.start(&mut command);
    let names = ["web", "api", "dual", "nope"];
    let answers = names.map(|name| {
        let path = format!("/{name}.default.svc.cluster.local");
        let answer = site.wait(|| {
            let answer = site.get(8053, &path).map_err(|error| error.to_string())?;
            Ok(vec![answer])
        });
        let fields = answer[0].lines().filter(|line| {
            line.starts_with("HTTP/") || line.to_ascii_lowercase().starts_with("x-upstream:")
        });
        let fields: String = fields
            .map(|line| line.replace([',', ':'], "\n") + "\n")
            .collect();
        format!("{name}: {}", view(&fields).join(" "))
    });
    answers.to_vec()
}

/// `HAProxy` asks all the time, and shows the addresses of its servers.
fn haproxy(site: &Site<'_>) -> View {
    let file = site.file("haproxy.cfg", include_str!("haproxy.cfg"));
    let mut command = site.command(debian("usr/sbin/haproxy"));
    let _haproxy = site.start(command.args(["-db", "-f", &file]));
    site.wait(|| {
        let text = servers(&site.path("admin.sock")).map_err(|error| error.to_string())?;
        let rows = text.lines().skip(2).map(|line| line.split_whitespace());
        let rows = rows.filter_map(|mut row| {
            let (name, address) = (row.nth(3)?, row.next()?);
            Some((name.trim_end_matches(char::is_numeric), address))
        });
        let mut rows: View = rows.map(|(name, at)| format!("{name} {at}")).collect();
        rows.sort_unstable();
        // Servers without an address are shown with `-`.
        let whole = rows.len() == 7 && rows.iter().all(|row| !row.ends_with('-'));
        whole.then_some(rows).ok_or(text)
    })
}

/// The state of `HAProxy`'s servers, a line each.
fn servers(socket: &str) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.write_all(b"show servers state\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

pub(super) fn all() -> Vec<Profile> {
    let of_debian = || Needs::Variable(DEBIAN);
    vec![
        Profile::new("nginx", of_debian(), nginx),
        Profile::new("HAProxy", of_debian(), haproxy),
    ]
}
