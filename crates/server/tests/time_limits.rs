//! Slow, silent and countless clients do not keep the server.

use engine::{Engine, EngineOptions, Speculation};
use models::Model;
use server::{Limits, ServedModel, Server, ServerOptions, Timeouts};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const SHORT: Duration = Duration::from_millis(200);

fn engine() -> Engine {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/parity/qwen3-tied");
    let options = EngineOptions {
        cache_tokens: 512,
        cache_dtype: nn::DType::F32,
        step_tokens: 64,
        max_sequences: 4,
        max_waiting: 4,
        max_waiting_tokens: 100_000,
        context_length: 512,
        speculation: Speculation::Lookup,
        adapter_bytes: 0,
    };
    Engine::start(Arc::new(Model::open(&path).unwrap()), Arc::new(kernels::Pool::new(1)), options).unwrap()
}

/// A server with short times, for as long as the test runs.
async fn start(connections: usize) -> SocketAddr {
    let served = ServedModel { id: "m".into(), engine: engine(), aliases: Vec::new() };
    let mut options = ServerOptions::new(([127, 0, 0, 1], 0).into(), vec![served]);
    options.timeouts = Timeouts {
        header: SHORT,
        body_read: SHORT,
        body: 4 * SHORT,
        idle: SHORT,
        write_stall: SHORT,
        ..Timeouts::default()
    };
    options.limits = Limits { connections, ..Limits::default() };
    let server = Server::bind(options).await.unwrap();
    let address = server.local_addr();
    tokio::spawn(server.run(std::future::pending()));
    address
}

/// What the server says until it closes the connection; the test fails if it never does.
async fn until_closed(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut bytes)).await;
    // a reset is an end as well
    let _ = end.expect("the connection is closed");
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn healthy(address: SocketAddr) -> bool {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    until_closed(stream).await.starts_with("HTTP/1.1 200")
}

const HEAD: &str = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_stop_half_way_are_closed() {
    let address = start(64).await;
    for (what, sent, answer) in [
        ("nothing", String::new(), ""),
        ("half a request line", "GET /heal".to_owned(), ""),
        ("headers without end", HEAD.to_owned(), ""),
        ("no body", format!("{HEAD}\r\n"), "HTTP/1.1 408"),
        ("half a body", format!("{HEAD}\r\n{{\"model\":"), "HTTP/1.1 408"),
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        let said = until_closed(stream).await;
        assert!(said.starts_with(answer), "{what}: {said}");
    }
    assert!(healthy(address).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_a_moment_does_not_keep_a_connection() {
    let address = start(64).await;
    let (mut read, mut write) = TcpStream::connect(address).await.unwrap().into_split();
    let drip = tokio::spawn(async move {
        let mut sent = write.write_all(b"GET /healthz HTTP/1.1\r\n").await;
        while sent.is_ok() {
            tokio::time::sleep(SHORT / 8).await;
            sent = write.write_all(b"X: y\r\n").await;
        }
    });
    let mut bytes = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(30), read.read_to_end(&mut bytes)).await;
    let _ = end.expect("the connection is closed");
    drip.await.unwrap();
    assert!(healthy(address).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_too_many_is_told_so() {
    let address = start(1).await;
    let mut first = TcpStream::connect(address).await.unwrap();
    // its answer shows that it has the only place
    first.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut some = [0; 12];
    first.read_exact(&mut some).await.unwrap();
    let mut second = TcpStream::connect(address).await.unwrap();
    second.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let said = until_closed(second).await;
    assert!(said.starts_with("HTTP/1.1 503") && said.contains("too many connections"), "{said}");
    // a silent connection loses its place
    until_closed(first).await;
    while !healthy(address).await {
        tokio::task::yield_now().await;
    }
}
