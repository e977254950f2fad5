//! Requests byte by byte, which no client library would send.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::TestServer;

/// How long a server may take to say or end something.
const PATIENCE: Duration = Duration::from_secs(10);

impl TestServer {
    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends `bytes` and returns everything that comes back until the server closes the connection.
    pub(crate) async fn send_raw(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut socket = self.connect().await;
        // A server that has seen enough may close before all is sent.
        let _ = socket.write_all(bytes.as_ref()).await;
        read_to_end(&mut socket).await
    }
}

/// Everything that comes until the connection is closed.
pub(crate) async fn read_to_end(socket: &mut TcpStream) -> String {
    let mut response = Vec::new();
    let read = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut response)).await;
    let text = String::from_utf8_lossy(&response).into_owned();
    // A reset is an end, too.
    assert!(read.is_ok(), "the connection was not closed: {text}");
    text
}

/// The next `count` bytes.
pub(crate) async fn next(socket: &mut TcpStream, count: usize) -> String {
    let mut response = vec![0; count];
    tokio::time::timeout(PATIENCE, socket.read_exact(&mut response)).await.unwrap().unwrap();
    String::from_utf8_lossy(&response).into_owned()
}

/// The first line of an answer's status: its number.
pub(crate) fn status(response: &str) -> &str {
    response.split(' ').nth(1).unwrap_or(response)
}
