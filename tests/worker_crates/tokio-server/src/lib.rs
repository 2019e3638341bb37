//! A server and its client on one tokio runtime.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use workers::{AsyncContext, WorkerError};

/// `args:`.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Ends after so many units of work.
    units: Option<u64>,
}

/// Runs.
///
/// # Errors
/// Those of sockets; a wrong answer.
pub async fn run(context: &AsyncContext, args: Args) -> Result<(), WorkerError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    context.log_line("tokio-server is up");
    let server = tokio::task::spawn_local(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::task::spawn_local(async move {
                let mut request = [0; 4];
                if client.read_exact(&mut request).await.is_ok() {
                    let _ = client.write_all(&request.map(|byte| byte.to_ascii_uppercase())).await;
                }
            });
        }
    });
    for unit in 0..args.units.unwrap_or(u64::MAX) {
        let work = context.begin(1);
        let mut client = TcpStream::connect(address).await?;
        client.write_all(b"ping").await?;
        let mut answer = [0; 4];
        client.read_exact(&mut answer).await?;
        if &answer != b"PING" {
            return Err(format!("unit {unit}: {answer:?}").into());
        }
        work.done();
        if !context.sleep(Duration::from_millis(1)).await {
            break;
        }
    }
    server.abort();
    Ok(())
}
