//! Workers that do real work: for trying the supervisor, for injection, and as examples.

mod cpu_burner;
mod duration;
mod echo_server;
mod file_hasher;
mod sleeper;
mod ticker;

use crate::registry::Registry;

/// The built-in workers by name.
#[must_use]
pub fn registry() -> Registry {
    Registry::default()
        .with(
            "cpu-burner",
            "counts primes; args: chunk (numbers in one unit of work)",
            cpu_burner::CpuBurner::new,
        )
        .with(
            "echo-server",
            "sends back what it gets by TCP; args: listen (ADDRESS:PORT)",
            echo_server::EchoServer::new,
        )
        .with(
            "file-hasher",
            "hashes files; args: directory, every (a duration), chunk (bytes)",
            file_hasher::FileHasher::new,
        )
        .with("sleeper", "waits for the order to stop; no args", sleeper::Sleeper::new)
        .with(
            "ticker",
            "one unit of work each interval; args: interval (a duration), say (a line)",
            ticker::Ticker::new,
        )
}
