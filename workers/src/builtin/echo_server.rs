//! Echoes its input: a TCP server with a thread for each client.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::context::{Context, OwnThread, Readiness};
use crate::error::WorkerError;
use crate::worker::Worker;

/// `args:` of an echo-server.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Args {
    /// Where to listen. Default `127.0.0.1:0`: any free port, which it prints.
    listen: SocketAddr,
}

impl Default for Args {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 0)) }
    }
}

/// For [`Registry::schema`](crate::Registry::schema).
pub(super) fn schema() -> Value {
    json!({ "properties": { "listen": {
        "description": "where to listen, ADDRESS:PORT; with port 0 it prints which it has",
        "default": "127.0.0.1:0",
    } } })
}

/// See [`Args`]. A message echoed is a unit of work; it is in flight from the first byte read to
/// the last byte sent.
#[derive(Debug)]
pub(super) struct EchoServer {
    listen: SocketAddr,
}

impl EchoServer {
    pub(super) fn new(args: Args) -> Result<Self, WorkerError> {
        Ok(Self { listen: args.listen })
    }
}

impl Worker for EchoServer {
    fn run(&mut self, context: &Context) -> Result<(), WorkerError> {
        let listener = TcpListener::bind(self.listen)
            .map_err(|error| format!("cannot listen on {}: {error}", self.listen))?;
        listener.set_nonblocking(true)?;
        context.log_line(format!("listening on {}", listener.local_addr()?));
        let mut clients: Vec<OwnThread<()>> = Vec::new();
        while !context.stop_requested() {
            if context.wait_readable(listener.as_fd(), None)? != Readiness::Readable {
                continue;
            }
            match listener.accept() {
                Ok((client, address)) => {
                    let serve = move |context: &Context| serve(client, context);
                    clients.retain(|client| !client.is_finished());
                    match context.spawn(format!("client {address}"), serve) {
                        Ok(client) => clients.push(client),
                        Err(error) => context.log_line(format!("cannot serve {address}: {error}")),
                    }
                }
                // The client has left already, or there is no descriptor left for it.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => context.log_line(format!("cannot accept: {error}")),
            }
        }
        Ok(clients.into_iter().try_for_each(OwnThread::join)?)
    }
}

/// Serves until the client leaves or the worker stops.
fn serve(mut client: TcpStream, context: &Context) {
    let mut buffer = [0; 4096];
    while matches!(context.wait_readable(client.as_fd(), None), Ok(Readiness::Readable)) {
        match client.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => {
                let message = context.begin(1);
                if client.write_all(&buffer[..length]).is_err() {
                    return message.fail();
                }
                message.done();
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}
