//! A small HTTP server on a socket that outlives it. In the configuration:
//!
//! ```yaml
//! version: 1
//! workers:
//!   web:
//!     worker: http-server
//!     isolation: thread          # or `process`, or also `cell: NAME`
//!     args: { greeting: hello }
//!     sockets: [ { listen: "127.0.0.1:8080", name: http } ]
//! ```
use std::{io, process::ExitCode, time::Duration};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use workers::{AsyncContext, WorkerError, builtin};

/// For clients that were accepted before the order to stop.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

#[derive(serde::Deserialize)]
struct Args {
    greeting: String,
}

async fn serve(context: &AsyncContext, args: Args) -> Result<(), WorkerError> {
    let listener = TcpListener::from_std(context.listener("http")?)?;
    context.ready();
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            () = context.stopped() => break,
            accepted = listener.accept() => {
                let (client, _) = accepted?;
                clients.spawn_local(answer(client, context.clone(), args.greeting.clone()));
            }
            Some(_) = clients.join_next() => {}
        }
    }
    // Those in the queue of the socket wait for the next incarnation.
    let last = async { while clients.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(LAST_ANSWERS, last).await;
    Ok(())
}

/// One request, one answer.
async fn answer(client: TcpStream, context: AsyncContext, greeting: String) -> io::Result<()> {
    let unit = context.begin(1);
    let mut client = BufReader::new(client);
    let mut line = String::new();
    while client.read_line(&mut line).await? > 2 {
        line.clear();
    }
    let body = format!("{greeting} from {} {}\n", context.name(), context.generation());
    let head =
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    client.write_all((head + &body).as_bytes()).await?;
    client.shutdown().await?;
    unit.done();
    Ok(())
}

fn main() -> ExitCode {
    let summary = "answers by HTTP on its socket `http`; args: greeting";
    supervisord_rs::main(builtin::registry().async_function("http-server", summary, serve))
}
