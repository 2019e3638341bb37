//! The control API: HTTP/1.1 and JSON on a Unix socket. The CLI is a client of it and has no other way in.

pub mod protocol;
pub mod request;
