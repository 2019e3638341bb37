//! The supervisor's own log in the journal of systemd, with fields that can be asked for:
//! `journalctl WORKER=api`.
//!
//! Native datagrams (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>) that never wait: a journal that
//! does not read loses messages, which are counted, and the loop goes on. A ready-made layer was
//! looked at: it waits, and it shows only the message to `journalctl`, without the error that
//! belongs to it.

use std::fmt::{Debug, Write};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

const SOCKET: &str = "/run/systemd/journal/socket";
const IDENTIFIER: &str = "supervisord-rs";
/// Longest message. The journal takes more, but not in one datagram.
const MESSAGE_MAX: usize = 64 * 1024;
/// What the message says anyway, or what only machines ask for: fields and no part of the message.
const SILENT: [&str; 6] = ["worker", "incident", "fault_domain", "generation", "from", "to"];

/// Whether standard error goes to the journal: systemd says which stream it connected
/// (`JOURNAL_STREAM`, systemd.exec(5)), and a program in between may have redirected it.
#[must_use]
pub fn has_stderr() -> bool {
    let Ok(said) = std::env::var("JOURNAL_STREAM") else { return false };
    nix::sys::stat::fstat(io::stderr().as_fd())
        .is_ok_and(|stat| said == format!("{}:{}", stat.st_dev, stat.st_ino))
}

/// Where events become entries of the journal.
#[derive(Debug)]
pub struct Journal {
    socket: UnixDatagram,
    lost: AtomicU64,
}

impl Journal {
    /// Opens a line to the journal of this machine.
    ///
    /// # Errors
    /// When no journal listens there.
    pub fn open() -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        std::fs::metadata(SOCKET)?;
        Ok(Self { socket, lost: AtomicU64::new(0) })
    }

    fn send(&self, entry: &[u8]) {
        if self.socket.send_to(entry, SOCKET).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let words =
                format!("{lost} messages before this one were lost: the journal did not take them");
            let mut entry = Entry::new(Level::WARN);
            entry.message.push_str(&words);
            let _ = self.socket.send_to(&entry.finish(), SOCKET);
        }
    }
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut entry = Entry::new(*event.metadata().level());
        event.record(&mut entry);
        self.send(&entry.finish());
    }
}

/// One entry in the making.
struct Entry {
    bytes: Vec<u8>,
    message: String,
    /// What is shown after the message.
    rest: String,
}

impl Entry {
    fn new(level: Level) -> Self {
        let mut entry = Self { bytes: Vec::new(), message: String::new(), rest: String::new() };
        entry.push("PRIORITY", priority(level));
        entry.push("SYSLOG_IDENTIFIER", IDENTIFIER);
        entry
    }

    /// A field with a length may hold any byte.
    fn push(&mut self, name: &str, value: &str) {
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(b'\n');
        self.bytes.extend_from_slice(&(value.len() as u64).to_le_bytes());
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.push(b'\n');
    }

    fn field(&mut self, field: &Field, value: &str) {
        let name = field.name();
        if name == "message" {
            self.message.push_str(value);
            return;
        }
        if value.is_empty() {
            return;
        }
        if !SILENT.contains(&name) {
            // Writing to a string does not fail.
            let _ = write!(self.rest, " {name}={value}");
        }
        self.push(
            &name.to_ascii_uppercase().replace(|c: char| !c.is_ascii_alphanumeric(), "_"),
            value,
        );
    }

    fn finish(mut self) -> Vec<u8> {
        let mut message = std::mem::take(&mut self.message);
        message.push_str(&self.rest);
        message.truncate(message.floor_char_boundary(MESSAGE_MAX));
        self.push("MESSAGE", &message);
        self.bytes
    }
}

impl Visit for Entry {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.field(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.field(field, &format!("{value:?}"));
    }
}

/// As syslog(3) has it.
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        Level::DEBUG | Level::TRACE => "7",
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// Gathers what would be sent.
    struct Gather(std::sync::mpsc::Sender<Vec<u8>>);

    impl<S: Subscriber> Layer<S> for Gather {
        fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
            let mut entry = Entry::new(*event.metadata().level());
            event.record(&mut entry);
            self.0.send(entry.finish()).expect("the test listens");
        }
    }

    fn entry_of(say: impl FnOnce()) -> String {
        let (sender, receiver) = std::sync::mpsc::channel();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(Gather(sender)), say);
        String::from_utf8_lossy(&receiver.recv().expect("one event")).into_owned()
    }

    fn has(entry: &str, name: &str, value: &str) -> bool {
        let length = String::from_utf8_lossy(&(value.len() as u64).to_le_bytes()).into_owned();
        entry.contains(&format!("{name}\n{length}{value}\n"))
    }

    #[test]
    fn fields_can_be_asked_for_and_the_message_says_all() {
        let entry = entry_of(|| {
            let worker = Some("api");
            tracing::warn!(worker, incident = 7_u64, error = %"no such file", "cannot\nwork");
        });
        for (name, value) in [
            ("PRIORITY", "4"),
            ("SYSLOG_IDENTIFIER", "supervisord-rs"),
            ("WORKER", "api"),
            ("INCIDENT", "7"),
            ("ERROR", "no such file"),
            ("MESSAGE", "cannot\nwork error=no such file"),
        ] {
            assert!(has(&entry, name, value), "{name}={value} in {entry:?}");
        }
    }

    #[test]
    fn an_unknown_worker_is_no_field_and_a_long_message_is_cut_between_letters() {
        let entry = entry_of(|| tracing::error!(worker = "", "{}", "ä".repeat(MESSAGE_MAX)));
        assert!(!entry.contains("WORKER") && has(&entry, "PRIORITY", "3"));
        assert!(entry.ends_with("ä\n") && entry.len() < MESSAGE_MAX + 100);
    }
}
