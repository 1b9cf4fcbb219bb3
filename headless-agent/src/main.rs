//! Parses the arguments, runs, and turns errors into exit statuses: 0 stopped,
//! 1 failed, 64 bad configuration, 75 to be started again with another Corefile.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use headless_agent::args::{Cli, Command, EXIT_CONFIGURATION, EXIT_START_AGAIN};
use headless_agent::config::{ConfigError, Settle, StartAgain};
use headless_agent::observe::{client, log};
use headless_agent::{check, run};

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Options of jemalloc (`MALLOC_CONF` in its manual, with the prefix of
/// tikv-jemalloc-sys). Two arenas, because few threads allocate much. Unused pages go
/// back to the system at once: jemalloc returns pages only while it is called, and an
/// idle agent hardly calls it.
#[cfg(feature = "jemalloc")]
#[unsafe(export_name = "_rjem_malloc_conf")]
static OPTIONS: &[u8; 44] = b"narenas:2,dirty_decay_ms:0,muzzy_decay_ms:0\0";

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // The texts of --help and --version are not errors.
            let code = if error.use_stderr() {
                EXIT_CONFIGURATION
            } else {
                0
            };
            return match error.print() {
                Ok(()) => code.into(),
                Err(_) => ExitCode::FAILURE,
            };
        }
    };
    match start(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            if error.is::<ConfigError>() {
                EXIT_CONFIGURATION.into()
            } else if error.is::<StartAgain>() {
                EXIT_START_AGAIN.into()
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

fn start(cli: Cli) -> anyhow::Result<ExitCode> {
    let Cli { command, log } = cli;
    log::init(&log.log, log.log_format.into()).map_err(ConfigError::from)?;
    match command {
        Command::Run(args) => {
            args.settings()?;
            let settle: Settle = Box::new(move |options| match options {
                Some(options) => {
                    let (args, contradictions) = args.with(options);
                    Ok((args.settings()?, contradictions))
                }
                None => Ok((args.settings()?, Vec::new())),
            });
            // The runtime's threads get the capabilities that this thread has left: none.
            let threads = run::Threads::start()?;
            block_on(run::run(settle, threads))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Status(args) => {
            let (ask, view, mut out) = (args.ask(), args.view(), io::stdout());
            printed(block_on(client::status(&ask, &view, &mut out)))
        }
        Command::Dump(args) => {
            let mut out = io::BufWriter::new(io::stdout());
            let shown = block_on(client::dump(&args.ask(), &args.names(), &mut out));
            printed(shown.and_then(|()| Ok(out.flush()?)))
        }
        Command::Check(args) => {
            let problems = block_on(check::check(args.settings()?))?;
            let found = !problems.is_empty();
            print(&problems)?;
            Ok(ExitCode::from(u8::from(found)))
        }
    }
}

fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(work);
    // Dropping the runtime instead would wait for threads that block, without a limit.
    runtime.shutdown_background();
    outcome
}

/// The exit status of a command that prints. A reader that wants no more, such as `head`, is no
/// failure.
fn printed(result: anyhow::Result<()>) -> anyhow::Result<ExitCode> {
    match result {
        Err(error) if error.downcast_ref().is_some_and(is_broken_pipe) => Ok(ExitCode::SUCCESS),
        result => result.map(|()| ExitCode::SUCCESS),
    }
}

fn is_broken_pipe(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}

fn print(text: &str) -> anyhow::Result<ExitCode> {
    io::stdout().lock().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
