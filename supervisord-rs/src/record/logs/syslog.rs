//! A line to the local syslog (RFC 3164, as glibc's syslog(3) writes it): facility daemon, severity
//! info, the worker as the tag.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::sync::OnceLock;

const SOCKET: &str = "/dev/log";
/// daemon (3) * 8 + info (6)
const PRIORITY: u8 = 30;

/// Sends one line. Never waits: a collector that does not read loses it, and the loss is counted.
pub(super) fn send(worker: &str, line: &[u8]) -> io::Result<()> {
    static SENDER: OnceLock<Option<UnixDatagram>> = OnceLock::new();
    let sender = SENDER.get_or_init(sender);
    let sender = sender.as_ref().ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))?;
    // Without a time of its own: collectors on the same machine take the moment of arrival.
    let mut text = format!("<{PRIORITY}>{worker}: ").into_bytes();
    text.extend_from_slice(line);
    sender.send_to(&text, SOCKET).map(drop)
}

/// A socket that sends and does not wait.
pub(super) fn sender() -> Option<UnixDatagram> {
    let socket = UnixDatagram::unbound().ok()?;
    socket.set_nonblocking(true).ok()?;
    Some(socket)
}
