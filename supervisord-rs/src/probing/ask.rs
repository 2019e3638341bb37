//! Asking: a connection, a request. No step waits longer than its limit, and none waits in the
//! loop.

use std::time::Duration;

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::config::settings::{Address, Check};
use crate::waiting::{Limit, within};

/// Asks. True: a good answer within `limit`, of which time in which the supervisor did not run is
/// no part. One that has a [command](Check::command) is not asked here, and is never good.
pub async fn ask(check: &Check, limit: Duration) -> bool {
    let answer = async {
        match check {
            Check::Tcp(address) => connect(address).await.is_some(),
            Check::Http { address, host, path } => match connect(address).await {
                Some(stream) => get(stream, host, path).await == Some(true),
                None => false,
            },
            Check::Exec(_) => false,
        }
    };
    within(&mut Limit::new(limit), answer).await == Some(true)
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

async fn connect(address: &Address) -> Option<Box<dyn Stream>> {
    match address {
        Address::Ip(address) => Some(Box::new(TcpStream::connect(address).await.ok()?)),
        Address::Unix(path) => Some(Box::new(UnixStream::connect(path).await.ok()?)),
    }
}

/// The head of the answer is enough: its body may be endless.
async fn get(stream: Box<dyn Stream>, host: &str, path: &str) -> Option<bool> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
    let request = hyper::Request::get(path)
        .header("host", host)
        .header("user-agent", concat!("supervisord-rs/", env!("CARGO_PKG_VERSION")))
        .header("connection", "close")
        .body(Empty::<Bytes>::new())
        .ok()?;
    let mut response = std::pin::pin!(sender.send_request(request));
    let mut connection = std::pin::pin!(connection);
    let response = tokio::select! {
        response = response.as_mut() => response.ok()?,
        // The other side may close at the same moment: its earlier answer counts.
        _ = connection.as_mut() => response.await.ok()?,
    };
    Some((200..400).contains(&response.status().as_u16()))
}
