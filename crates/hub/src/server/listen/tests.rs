use axum::Router;
use axum::routing::{get, post};
use bytes::Bytes;
use futures::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;

const SOON: Duration = Duration::from_secs(5);

fn impatient() -> ListenOptions {
    ListenOptions {
        head_timeout: Duration::from_millis(300),
        idle_timeout: Duration::from_millis(300),
        drain_timeout: Duration::from_millis(1500),
        ..ListenOptions::default()
    }
}

struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Drained>,
}

async fn start(options: ListenOptions) -> Running {
    let routes = Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/refuse", post(|| async { http::StatusCode::FORBIDDEN }))
        .route(
            "/count",
            post(|body: Body| async move {
                let mut total = 0;
                let mut stream = body.into_data_stream();
                while let Some(piece) = stream.next().await {
                    match piece {
                        Ok(piece) => total += piece.len(),
                        Err(error) => return format!("failed: {error}"),
                    }
                }
                total.to_string()
            }),
        )
        .route(
            "/slow",
            get(|| async {
                tokio::time::sleep(Duration::from_millis(600)).await;
                "late"
            }),
        )
        .route("/stuck", get(|| async { std::future::pending::<&str>().await }))
        .route(
            "/endless",
            get(|| async {
                let piece = Ok::<_, Infallible>(Bytes::from_static(&[0; 65536]));
                Body::from_stream(futures::stream::repeat(piece))
            }),
        );
    serve(routes, options).await
}

async fn serve(routes: Router, options: ListenOptions) -> Running {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_address();
    let (stop, stopped) = oneshot::channel();
    let shutdown = async move {
        let _ = stopped.await;
    };
    let task = tokio::spawn(listener.serve(routes, options, shutdown));
    Running { address, stop, task }
}

impl Running {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn stop(self) -> Drained {
        self.stop.send(()).unwrap();
        timeout(SOON, self.task).await.unwrap().unwrap()
    }
}

/// Reads one answer with `Content-Length`.
async fn answer(stream: &mut TcpStream) -> String {
    let mut got = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&got).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.parse().unwrap());
            if body.len() >= length {
                return text;
            }
        }
        let count = timeout(SOON, stream.read(&mut buffer)).await.unwrap().unwrap();
        assert!(count > 0, "connection ended after: {text}");
        got.extend_from_slice(&buffer[..count]);
    }
}

async fn ends(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    timeout(SOON, stream.read_to_end(&mut rest)).await.is_ok()
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: hub\r\n\r\n";

#[tokio::test]
async fn a_connection_serves_many_requests() {
    let server = start(impatient()).await;
    assert_ne!(server.address.port(), 0);
    let mut stream = server.connect().await;
    for _ in 0..3 {
        stream.write_all(GET).await.unwrap();
        assert!(answer(&mut stream).await.ends_with("hello"));
    }
    assert_eq!(server.stop().await, Drained { cut_off: 0 });
}

#[tokio::test]
async fn silent_and_idle_connections_are_closed() {
    let server = start(impatient()).await;
    let mut silent = server.connect().await;
    let mut half = server.connect().await;
    half.write_all(b"GET / HTTP/1.1\r\nhost:").await.unwrap();
    let mut idle = server.connect().await;
    idle.write_all(GET).await.unwrap();
    answer(&mut idle).await;
    assert!(ends(&mut silent).await);
    assert!(ends(&mut half).await);
    assert!(ends(&mut idle).await);
    server.stop().await;
}

#[tokio::test]
async fn an_upload_that_stops_moving_fails_and_one_that_crawls_does_not() {
    let server = start(impatient()).await;
    let mut stopped = server.connect().await;
    let head = b"POST /count HTTP/1.1\r\nhost: hub\r\ncontent-length: 10\r\n\r\nab";
    stopped.write_all(head).await.unwrap();
    assert!(answer(&mut stopped).await.contains("failed: "));

    let mut crawling = server.connect().await;
    crawling.write_all(head).await.unwrap();
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_millis(80)).await;
        crawling.write_all(b"x").await.unwrap();
    }
    assert!(answer(&mut crawling).await.ends_with("10"));
    server.stop().await;
}

#[tokio::test]
async fn a_download_that_nobody_reads_is_given_up() {
    let server = start(impatient()).await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET /endless HTTP/1.1\r\nhost: hub\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(900)).await;
    // Whatever the system holds for us can still be read, and then it ends.
    let mut buffer = vec![0; 1 << 20];
    let ended = timeout(SOON, async { while !matches!(stream.read(&mut buffer).await, Ok(0) | Err(_)) {} });
    assert!(ended.await.is_ok());
    server.stop().await;
}

#[tokio::test]
async fn a_request_is_carried_out_to_its_end_when_the_client_has_gone() {
    let (begun, mut has_begun) = mpsc::channel(1);
    let (ended, mut has_ended) = mpsc::channel(1);
    let work = move || {
        let (begun, ended) = (begun.clone(), ended.clone());
        async move {
            begun.send(()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(300)).await;
            ended.send(()).await.unwrap();
        }
    };
    let server = serve(Router::new().route("/work", post(work)), impatient()).await;
    let mut stream = server.connect().await;
    stream.write_all(b"POST /work HTTP/1.1\r\nhost: hub\r\ncontent-length: 2\r\n\r\nab").await.unwrap();
    has_begun.recv().await.unwrap();
    drop(stream);
    timeout(SOON, has_ended.recv()).await.unwrap().unwrap();
    server.stop().await;
}

#[tokio::test]
async fn a_refused_upload_is_read_to_its_end_so_that_the_answer_arrives() {
    let server = start(impatient()).await;
    let mut stream = server.connect().await;
    let size = 8 << 20;
    let head = format!("POST /refuse HTTP/1.1\r\nhost: hub\r\ncontent-length: {size}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![1; size]).await.unwrap();
    assert!(answer(&mut stream).await.starts_with("HTTP/1.1 403"));
    stream.write_all(GET).await.unwrap();
    assert!(answer(&mut stream).await.ends_with("hello"));
    server.stop().await;
}

#[tokio::test]
async fn shutdown_finishes_what_is_under_way() {
    let server = start(impatient()).await;
    let mut busy = server.connect().await;
    busy.write_all(b"GET /slow HTTP/1.1\r\nhost: hub\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let address = server.address;
    let stopping = tokio::spawn(server.stop());
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(TcpStream::connect(address).await.is_err(), "no new connection is accepted");
    assert!(answer(&mut busy).await.ends_with("late"));
    assert_eq!(stopping.await.unwrap(), Drained { cut_off: 0 });
}

#[tokio::test]
async fn shutdown_does_not_wait_for_silent_clients_nor_forever() {
    let patient = ListenOptions { head_timeout: SOON * 4, ..impatient() };
    let server = start(patient.clone()).await;
    let _silent = server.connect().await;
    let mut idle = server.connect().await;
    idle.write_all(GET).await.unwrap();
    answer(&mut idle).await;
    let began = std::time::Instant::now();
    assert_eq!(server.stop().await, Drained { cut_off: 0 });
    assert!(began.elapsed() < Duration::from_secs(1));

    let server = start(patient).await;
    let mut stuck = server.connect().await;
    stuck.write_all(b"GET /stuck HTTP/1.1\r\nhost: hub\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(server.stop().await, Drained { cut_off: 1 });
}

#[tokio::test]
async fn connections_above_the_limit_wait_for_a_seat() {
    let server = start(ListenOptions { max_connections: 1, ..impatient() }).await;
    let mut first = server.connect().await;
    first.write_all(GET).await.unwrap();
    answer(&mut first).await;
    let mut second = server.connect().await;
    second.write_all(GET).await.unwrap();
    drop(first);
    assert!(answer(&mut second).await.ends_with("hello"));
    server.stop().await;
}

#[tokio::test]
async fn a_second_server_on_the_same_port_is_refused() {
    let server = start(impatient()).await;
    let error = Listener::bind(server.address).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    server.stop().await;
}
