//! The control API: HTTP/1.1 and JSON on a Unix socket. The CLI is a client of it and has no other
//! way in.
//!
//! | file | concept |
//! |---|---|
//! | `protocol` | the published shapes, a file for each subject |
//! | `request` | what the server asks of the daemon's loop |
//! | `socket` | the listening socket: made, replaced, its peers checked |
//! | `server` | connections, bounded in number, bytes and time; `routes`: what leads where |
//! | `thread` | the thread that it runs on |
//! | `clients`, `timed` | places for clients; a connection that has to take what is written |
//! | `client` | the other side, blocking |

pub mod client;
mod clients;
pub mod protocol;
pub mod request;
pub mod server;
pub mod socket;
pub mod thread;
mod timed;
