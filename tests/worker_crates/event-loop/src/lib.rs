//! An event loop of its own: orders wake it as any other descriptor does.

use std::io::{Read, Write, pipe};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use workers::{Context, WorkerError};

/// `args:`.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Ends after so many units of work.
    units: Option<u64>,
}

const ORDERS: Token = Token(0);
const WORK: Token = Token(1);

/// Runs.
///
/// # Errors
/// Those of epoll(7) and pipe(2).
pub fn run(context: &Context, args: Args) -> Result<(), WorkerError> {
    context.log_line("event-loop is up");
    let (mut work, mut more) = pipe()?;
    let mut poll = Poll::new()?;
    let orders = context.as_fd().as_raw_fd();
    poll.registry().register(&mut SourceFd(&orders), ORDERS, Interest::READABLE)?;
    poll.registry().register(&mut SourceFd(&work.as_raw_fd()), WORK, Interest::READABLE)?;
    let mut events = Events::with_capacity(8);
    let mut units = 0;
    more.write_all(b"x")?;
    while !context.stop_requested() && args.units.is_none_or(|limit| units < limit) {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == WORK {
                let mut byte = [0];
                work.read_exact(&mut byte)?;
                units += 1;
                context.progress(1);
                std::thread::sleep(Duration::from_millis(1));
                more.write_all(&byte)?;
            }
        }
        // Also an answer to the supervisor's question for a sign of life.
        context.tick();
    }
    Ok(())
}
