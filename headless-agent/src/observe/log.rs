//! Log lines, to standard error: one line each, and not too many.
//!
//! Objects and pods cause log lines. Every place in the code that logs has a limit of its own,
//! so that no cause can fill the disk, nor hide the lines of another place.

use std::collections::HashMap;
use std::io::{self, IsTerminal as _, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::callsite::Identifier;
use tracing::{Event, Level, Subscriber, warn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, fmt};

use crate::pace::{Bucket, Pace};
use crate::watch::excerpt::is_obeyed;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Default levels of single targets, unless the filter names them. The netlink library
/// warns about every attribute that newer kernels have made longer. The API client warns with
/// the whole text of a list that it cannot read, which may have megabytes; the agent says
/// itself what is wrong. The BPF programs log only if `--kernel-log` says so, and then their
/// lines should be seen.
const DEFAULTS: [(&str, &str); 3] = [
    ("netlink_packet_route", "error"),
    ("kube_client", "error"),
    ("headless_xdp", "debug"),
];

/// How often one place logs. A node has up to 250 pods, and a restart of the agent attaches two
/// programs to each.
const PACE: Pace = Pace {
    burst: 100,
    every: Duration::from_secs(5),
};

/// How often the log tells how many lines were left out.
const TELL: Duration = Duration::from_mins(1);

/// The most bytes of a line. An error of a library may hold the whole text of an object.
const LINE_MAX: usize = 16 << 10;

/// Lines that were left out since the start.
static LEFT_OUT: AtomicU64 = AtomicU64::new(0);

/// Log lines that were left out since the start, because their place had logged many.
pub fn left_out() -> u64 {
    LEFT_OUT.load(Ordering::Relaxed)
}

/// Tells how many lines were left out, now and then. Never ends.
pub async fn tell() -> anyhow::Result<()> {
    let mut told = 0;
    loop {
        tokio::time::sleep(TELL).await;
        let now = left_out();
        if now > told {
            let more = now - told;
            warn!(
                "{more} log lines were left out in the last {} s, because each place in the agent \
                 logs at most {} lines at once and then one in {} s",
                TELL.as_secs(),
                PACE.burst,
                PACE.every.as_secs(),
            );
            told = now;
        }
    }
}

/// Starts logging. `filter` is a level, or targets with levels
/// (`info,headless_agent::watch=debug`).
pub fn init(filter: &str, format: Format) -> anyhow::Result<()> {
    let mut directives = EnvFilter::try_new(filter)?;
    for (target, level) in DEFAULTS {
        if !filter.contains(target) {
            directives = directives.add_directive(format!("{target}={level}").parse()?);
        }
    }
    let ansi = io::stderr().is_terminal() && format == Format::Text;
    let lines = fmt::layer().with_writer(Lines {
        make: io::stderr,
        ansi,
    });
    let layer = match format {
        Format::Text => lines.with_ansi(ansi).boxed(),
        Format::Json => lines.json().boxed(),
    };
    tracing_subscriber::registry()
        .with(layer)
        .with(directives)
        .with(Limit::default())
        .try_init()
        .map_err(|error| anyhow::anyhow!("cannot start logging: {error}"))
}

/// Leaves out lines of places that log often. The operator has asked for the lines of `debug`
/// and `trace`, and for the lines of the programs, which come through the crate `log`.
#[derive(Debug, Default)]
struct Limit {
    places: Mutex<HashMap<Identifier, Bucket>>,
}

impl<S: Subscriber> Layer<S> for Limit {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::INFO || metadata.target() == "log" {
            return true;
        }
        let now = Instant::now();
        let mut places = self.places.lock();
        let bucket = places.entry(metadata.callsite());
        let allowed = bucket.or_insert_with(|| Bucket::new(now)).take(PACE, now);
        if !allowed {
            LEFT_OUT.fetch_add(1, Ordering::Relaxed);
        }
        allowed
    }
}

/// Writers that keep each event on its line.
#[derive(Clone, Copy, Debug)]
struct Lines<M> {
    make: M,
    /// Whether lines have colours, which begin with the escape character. Texts have it escaped
    /// already.
    ansi: bool,
}

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for Lines<M> {
    type Writer = Line<M::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        Line {
            writer: self.make.make_writer(),
            ansi: self.ansi,
        }
    }
}

/// Writes an event as a line, with obeyed characters escaped.
#[derive(Debug)]
struct Line<W> {
    writer: W,
    ansi: bool,
}

impl<W: Write> Write for Line<W> {
    /// Takes the whole event, as tracing-subscriber gives it.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let (text, end) = match text.strip_suffix('\n') {
            Some(text) => (text, "\n"),
            None => (&*text, ""),
        };
        let obeyed = |char| is_obeyed(char) && !(self.ansi && char == '\u{1b}');
        let mut line = String::with_capacity(event.len().min(LINE_MAX));
        for char in text.chars() {
            if line.len() > LINE_MAX {
                line.push('…');
                break;
            }
            if obeyed(char) {
                line.extend(char.escape_default());
            } else {
                line.push(char);
            }
        }
        line.push_str(end);
        self.writer.write_all(line.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::sync::Arc;

    use tracing::{debug, error, info};

    use super::*;

    /// Where the lines of a test go.
    #[derive(Clone, Debug, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(json: bool, log: impl FnOnce()) -> Vec<String> {
        let sink = Sink::default();
        let writer = sink.clone();
        let lines = fmt::layer().with_writer(Lines {
            make: move || writer.clone(),
            ansi: false,
        });
        let layer = if json {
            lines.json().boxed()
        } else {
            lines.with_ansi(false).boxed()
        };
        let filter = EnvFilter::try_new("debug").unwrap();
        let subscriber = tracing_subscriber::registry().with(layer);
        let subscriber = subscriber.with(filter).with(Limit::default());
        tracing::subscriber::with_default(subscriber, log);
        let bytes = sink.0.lock();
        let text = str::from_utf8(&bytes).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn no_text_makes_a_line_of_its_own() {
        let evil = "a\n2026-11-27T00:00:00Z ERROR b\r\u{1b}[2J\u{202e}";
        for json in [false, true] {
            let lines = logged(json, || {
                warn!(name = evil, "{evil}");
                warn!(name = ?evil, "{evil:?}");
            });
            assert_eq!(lines.len(), 2, "{lines:?}");
            for line in lines {
                assert!(!line.contains(is_obeyed), "{line:?}");
                assert!(line.contains("ERROR b"), "{line:?}");
            }
        }
    }

    #[test]
    fn a_line_ends_after_some_bytes() {
        let long = "x".repeat(1 << 20);
        let lines = logged(false, || warn!("{long}"));
        assert_eq!(lines.len(), 1);
        assert!((LINE_MAX..LINE_MAX + 8).contains(&lines[0].len()));
    }

    #[test]
    fn a_place_that_logs_often_leaves_the_others_their_lines() {
        let before = left_out();
        let lines = logged(false, || {
            for number in 0..20_000 {
                warn!("object {number}");
                debug!("detail {number}");
                if number % 10_000 == 0 {
                    error!("broken");
                }
            }
            info!("stopped");
        });
        let count = |words: &str| lines.iter().filter(|line| line.contains(words)).count();
        // One more for each five seconds that the test takes.
        let objects = count("object ");
        assert!((100..110).contains(&objects), "{objects}");
        assert_eq!(count("detail "), 20_000);
        assert_eq!(count("broken"), 2);
        assert_eq!(count("stopped"), 1);
        // Other tests may have left out lines, too.
        assert!(left_out() - before >= 20_000 - objects as u64);
    }
}
