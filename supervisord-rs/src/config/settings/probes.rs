//! How a worker tells that it is ready, and how its health is watched.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::pattern::Pattern;

/// How a worker tells that it is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ready {
    /// Registered code says so on its board; a command that cannot say so is ready when it has
    /// stayed up for a time, which is the machine's business.
    ByItself,
    /// `READY=1` on `NOTIFY_SOCKET`, sd_notify(3).
    Notify,
    /// A newline on this descriptor (s6 calls it its notification-fd).
    Newline(i32),
    /// A line of its output that matches this regular expression.
    Log(Pattern),
    /// It is asked.
    Probe(Probe),
}

/// How a worker's health is watched while it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Says whether others may depend on it.
    pub readiness: Option<Probe>,
    /// Says whether it is of any use; if not, it is stopped, and has failed.
    pub liveness: Option<Probe>,
}

/// What a probe decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Startup: whether the worker has started.
    Startup,
    /// Readiness: whether dependents may use it.
    Readiness,
    /// Liveness: whether it still works.
    Liveness,
}

impl Kind {
    /// Its name, as in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Startup => "startup",
            Self::Readiness => "readiness",
            Self::Liveness => "liveness",
        }
    }
}

/// A question that is asked again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// What is asked.
    pub check: Check,
    /// From one question to the next.
    pub every: Duration,
    /// For the answer; no answer by then is a bad one.
    pub timeout: Duration,
    /// So many good answers in a row make it good.
    pub successes: u32,
    /// So many bad ones in a row make it bad; `None`: never.
    pub failures: Option<u32>,
    /// Bad answers do not count for so long after the launch.
    pub start_period: Duration,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// Whether a server accepts a connection.
    Tcp(Address),
    /// Whether `GET` is answered with a status from 200 to 399.
    Http {
        /// Where.
        address: Address,
        /// For the `Host` header.
        host: String,
        /// Path and query.
        path: String,
    },
    /// Whether this command ends with exit status 0. It runs with the worker's execution
    /// environment.
    Exec(Vec<String>),
}

impl Check {
    /// The server that is asked, which a second one of the same configuration would ask too.
    #[must_use]
    pub const fn address(&self) -> Option<&Address> {
        match self {
            Self::Tcp(address) | Self::Http { address, .. } => Some(address),
            Self::Exec(_) => None,
        }
    }

    /// What is run to ask, with the worker's execution environment; `None`: the supervisor asks by
    /// itself.
    #[must_use]
    pub fn command(&self) -> Option<&[String]> {
        match self {
            Self::Exec(command) => Some(command),
            Self::Tcp(_) | Self::Http { .. } => None,
        }
    }
}

/// The address of a server. Names are not looked up: a resolver that hangs would hang the probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// An IP address and a port.
    Ip(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl Address {
    /// `127.0.0.1:80`, `[::1]:80`, `localhost:80`, `unix:/run/x.sock` or `/run/x.sock`; with `any`,
    /// also `:80` and `80` for every address of the machine.
    #[must_use]
    pub fn parse(text: &str, any: bool) -> Option<Self> {
        if let Some(path) =
            text.strip_prefix("unix:").or_else(|| text.starts_with('/').then_some(text))
        {
            return path.starts_with('/').then(|| Self::Unix(path.into()));
        }
        let text = match text.strip_prefix("localhost:") {
            Some(port) => format!("127.0.0.1:{port}"),
            None => text.to_owned(),
        };
        let everywhere = || text.trim_start_matches(':').parse().ok().filter(|_| any);
        let ip = text
            .parse()
            .ok()
            .or_else(|| everywhere().map(|port: u16| SocketAddr::from(([0; 4], port))))?;
        Some(Self::Ip(ip))
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(formatter),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}
