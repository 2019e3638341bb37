//! A line to the journal of systemd, by its native protocol
//! (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>): the worker is a field of its own, so that its
//! last lines keep its name even when its process is gone.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::sync::OnceLock;

const SOCKET: &str = "/run/systemd/journal/socket";

/// Sends one line. Never waits.
pub(super) fn send(worker: &str, line: &[u8]) -> io::Result<()> {
    static SENDER: OnceLock<Option<UnixDatagram>> = OnceLock::new();
    let sender = SENDER.get_or_init(super::syslog::sender);
    let sender = sender.as_ref().ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))?;
    sender.send_to(&message(worker, line), SOCKET).map(drop)
}

fn message(worker: &str, line: &[u8]) -> Vec<u8> {
    let mut text =
        format!("PRIORITY=6\nSYSLOG_IDENTIFIER={worker}\nWORKER={worker}\nMESSAGE\n").into_bytes();
    // A field with a length may hold any byte.
    text.extend_from_slice(&(line.len() as u64).to_le_bytes());
    text.extend_from_slice(line);
    text.push(b'\n');
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_message_holds_any_byte() {
        let message = super::message("api", b"a\xff=b");
        assert!(message.starts_with(
            b"PRIORITY=6\nSYSLOG_IDENTIFIER=api\nWORKER=api\nMESSAGE\n\x04\0\0\0\0\0\0\0a\xff=b"
        ));
    }
}
