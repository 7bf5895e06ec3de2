//! Serving a filesystem in the foreground: the ready line, signals, statistics, the end.
//!
//! The main thread waits for the end. Signals are read by a thread of their own, and unmounting, which may take as long
//! as there is something to be written back, has yet another, so that a second signal is heard meanwhile.

use std::io::{self, IsTerminal, Write};
use std::thread;
use std::time::{Duration, Instant};

use ringfuse::{Filesystem, Mount, Session, Unmount, Unmounter};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;
use tracing_subscriber::EnvFilter;

use crate::cli::Common;
use crate::failure::Failure;

/// A signal that follows another this soon is the same one: timeout(1) sends it to the process, then to its group.
const ECHO: Duration = Duration::from_millis(50);

/// Logs to standard error, what the argument, or else the environment, says.
///
/// # Errors
///
/// If that is no filter.
pub(crate) fn log(common: &Common) -> Result<(), Failure> {
    let from_environment = || std::env::var("RINGFUSE_LOG").ok();
    let text = common.log.clone().or_else(from_environment).unwrap_or_else(|| "warn".into());
    let filter = EnvFilter::try_new(&text)
        .map_err(|error| Failure::Usage(format!("`{text}` does not say what to log: {error}")))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
    Ok(())
}

/// Mounts, and serves until the mount is gone. `report` tells what the filesystem has to say of itself.
///
/// # Errors
///
/// If it cannot be mounted, or the session ends for another reason than an unmount or an abort.
pub(crate) fn serve(
    mount: Mount,
    filesystem: impl Filesystem + Send + Sync,
    report: impl Fn() -> String + Sync,
    stats: bool,
) -> Result<(), Failure> {
    // Before there is a mount that a signal could leave behind.
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGUSR1])
        .map_err(|error| Failure::System("cannot listen for signals", error))?;
    let listener = signals.handle();
    let session = mount.spawn(filesystem)?;
    let statistics = || eprintln!("ringfuse: {}, {}", counters(&session), report());
    // Whoever started it may not care to read this.
    let mut out = io::stdout();
    let _ = writeln!(out, "{}", session.info()).and_then(|()| out.flush());

    thread::scope(|scope| {
        scope.spawn(|| {
            let mut stopping: Option<Instant> = None;
            for signal in signals.forever() {
                let unmounter = session.unmounter();
                match (signal, stopping) {
                    (SIGUSR1, _) => statistics(),
                    (_, None) => {
                        stopping = Some(Instant::now());
                        scope.spawn(move || unmount(&unmounter));
                    }
                    (_, Some(since)) if since.elapsed() < ECHO => {}
                    _ => abort(&unmounter),
                }
            }
        });
        while !session.wait(Duration::from_secs(3600)) {}
        listener.close();
    });
    // A connection that was aborted leaves its mount behind, dead.
    if let Err(error) = session.unmount(Unmount::Lazy) {
        tracing::warn!("{error}");
    }
    if stats {
        statistics();
    }
    session.join()?;
    Ok(())
}

fn counters(session: &Session) -> String {
    let stats = session.stats();
    format!(
        "{}: requests {}, answered {}, by the control path {}",
        session.info().transport,
        stats.received,
        stats.committed,
        stats.control
    )
}

/// Unmounts, lazily if somebody uses it.
fn unmount(unmounter: &Unmounter) {
    let Err(error) = unmounter.unmount(Unmount::Normal) else { return };
    if !error.is_busy() {
        return eprintln!("ringfuse: {error}");
    }
    match unmounter.unmount(Unmount::Lazy) {
        Ok(()) => eprintln!(
            "ringfuse: it is in use: it is unmounted lazily, and served until the last user leaves; another signal \
             aborts it"
        ),
        Err(error) => eprintln!("ringfuse: {error}"),
    }
}

/// Ends it at once, whoever waits for an answer.
fn abort(unmounter: &Unmounter) {
    eprintln!("ringfuse: aborted");
    let aborted = unmounter.abort();
    if let Err(error) = unmounter.unmount(Unmount::Force) {
        eprintln!("ringfuse: {error}");
    }
    if !matches!(aborted, Ok(true)) {
        // There is no other way to end what was unmounted lazily but to let go of it.
        std::process::exit(1);
    }
}
