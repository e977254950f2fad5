//! Ten thousand clients who leave: in the middle of their request, before the answer, in the middle of it. Nothing of
//! them stays but the rows of what they cost.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::reconcile::{Database, Place};
use super::{Installation, PATIENCE, spawn, user};
use crate::harness::message_body;
use crate::harness::tokens::token;

const CYCLES: usize = 10_000;
const AT_ONCE: usize = 64;

/// Sends a request and disconnects. The number decides which request and at which point.
async fn send_and_disconnect(address: SocketAddr, token: &str, number: usize) {
    // A fixed sequence without a pattern.
    let dice = usize::try_from((number as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33).unwrap();
    let words = ["[paced 20 1]", "[slow 30]", "[long 60]", "[throttle-mid]", "[throttle-once]"][dice % 5];
    let body = message_body(&format!("{words} #{number}."), !dice.is_multiple_of(7)).to_string();
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let whole = head + &body;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let sent = match number % 8 {
        0 => 1 + dice % (whole.len() - body.len() - 1),
        1 => whole.len() - 1 - dice % body.len(),
        _ => whole.len(),
    };
    // The server may have been quicker to say that something is wrong.
    let _ = stream.write_all(&whole.as_bytes()[..sent]).await;
    match number % 8 {
        3 | 4 => tokio::time::sleep(Duration::from_millis(dice as u64 % 20)).await,
        5..=7 => {
            let mut some = vec![0; 1 + dice % 4000];
            let _ = timeout(PATIENCE, stream.read(&mut some)).await.unwrap();
        }
        _ => {}
    }
}

/// Number of tasks that the process reports.
async fn tasks(address: SocketAddr) -> usize {
    let token = token("ops", &json!({"scope": "admin:read"}));
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "GET /metrics HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    let line = response.lines().find_map(|line| line.strip_prefix("bedrock_proxy_tokio_alive_tasks "));
    line.unwrap_or_else(|| panic!("no tasks in {response}")).parse().unwrap()
}

/// What is still there of them.
#[derive(Debug, PartialEq)]
struct Left {
    /// Connections of the process, beside those that it had before and those that it keeps for the upstream.
    sockets: usize,
    /// Tasks, beside those that it had before and those of the connections that it keeps.
    tasks: usize,
    reservations: i64,
    /// Tokens that Bedrock gave and no row has.
    tokens: i64,
}

const NOTHING: Left = Left { sockets: 0, tasks: 0, reservations: 0, tokens: 0 };
/// Connections to the upstream that are kept for the next request, at most.
const KEPT: usize = 64;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_clients_who_leave_leave_nothing_behind() {
    let installation = Installation::new().await;
    let mut replica = installation.replica("replica0", &Place::Sqlite("".into()), &[]);
    let place = Place::Sqlite(installation.home.path().join("replica0/data/bedrock-proxy.db"));
    let address = replica.address;
    let (sockets, alive) = (replica.sockets(), tasks(address).await);
    let requests: Vec<_> = (0..AT_ONCE)
        .map(|first| {
            let token = token(&user(first), &json!({"team": "red"}));
            spawn(async move {
                for number in (first..CYCLES).step_by(AT_ONCE) {
                    send_and_disconnect(address, &token, number).await;
                }
            })
        })
        .collect();
    for one in requests {
        one.await.unwrap();
    }

    let start = Instant::now();
    let mut database = Database::open(&place).await;
    let rows = loop {
        let rows = database.rows().await;
        let known: i64 = rows.values().flatten().filter(|row| !row.estimated).map(|row| row.tokens).sum();
        let given = i64::try_from(installation.bedrock.totals().total()).unwrap();
        let left = Left {
            sockets: replica.sockets().saturating_sub(sockets + KEPT),
            tasks: tasks(address).await.saturating_sub(alive + KEPT),
            // An expired reservation no longer counts, but none should remain until it expires.
            reservations: database.held(0).await,
            tokens: given - known,
        };
        if left == NOTHING {
            break rows;
        }
        assert!(start.elapsed() < PATIENCE, "{left:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(rows.len() > CYCLES / 4, "{} rows", rows.len());
    replica.signal("-TERM");
    assert!(replica.ended().await.success());
}
