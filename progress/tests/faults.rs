//! Redis when it goes away.

#![allow(
    clippy::disallowed_methods,
    reason = "tests make ids as they please and end their tasks with their runtime"
)]

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::StreamExt;
use progress::redis::{Config, RedisProgress};
use shared::{ids::ExecutionId, port::progress::Progress, testing::progress::update};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_secs(30);

/// Stands between us and Redis, and cuts connections when told.
async fn proxy(to: String) -> (SocketAddr, Arc<Mutex<CancellationToken>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let connections = Arc::new(Mutex::new(CancellationToken::new()));
    let current = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((mut here, _)) = listener.accept().await {
            let cut = current.lock().expect("nobody panicked").clone();
            let to = to.clone();
            tokio::spawn(async move {
                let mut there = TcpStream::connect(to).await.expect("Redis is there");
                let _ = cut.run_until_cancelled(tokio::io::copy_bidirectional(&mut here, &mut there)).await;
            });
        }
    });
    (address, connections)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_ends_with_the_connection_and_can_begin_again() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let url = std::env::var("REDIS_URL")
        .expect("REDIS_URL is not set: run `deploy/dev/services up` (or `make test`, which does)");
    let to = url.rsplit(['/', '@']).find(|part| part.contains(':')).expect("a host and a port").to_owned();
    let (address, connections) = proxy(to.clone()).await;
    let mut config = Config::new(url.replace(&to, &address.to_string()));
    config.namespace = format!("test:{}", uuid::Uuid::now_v7());
    let progress = RedisProgress::new(&config).expect("the URL is one of Redis");
    let execution = ExecutionId::generate();

    let mut updates = progress.watch(execution).await.expect("it can be watched");
    progress.show(vec![update(execution, 1)]);
    let shown = tokio::time::timeout(SOON, updates.next()).await.expect("an update comes");
    assert_eq!(shown, Some(update(execution, 1)));

    std::mem::take(&mut *connections.lock().expect("nobody panicked")).cancel();
    let end = tokio::time::timeout(SOON, updates.next()).await.expect("the stream ends");
    assert_eq!(end, None);

    let mut updates = progress.watch(execution).await.expect("it can be watched again");
    let shown = async {
        loop {
            // What is shown while the connection is being made again may be dropped.
            progress.show(vec![update(execution, 2)]);
            if let Ok(shown) = tokio::time::timeout(Duration::from_millis(200), updates.next()).await {
                break shown;
            }
        }
    };
    let shown = tokio::time::timeout(SOON, shown).await.expect("an update comes again");
    assert_eq!(shown, Some(update(execution, 2)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn showing_holds_up_nobody_while_redis_is_away() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    // A port that was free a moment ago: nobody answers there.
    let port = {
        let probe = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        probe.local_addr().expect("it is bound").port()
    };
    let progress =
        RedisProgress::new(&Config::new(format!("redis://127.0.0.1:{port}"))).expect("the URL is fine");
    let execution = ExecutionId::generate();
    let began = std::time::Instant::now();
    for seq in 0..50_000 {
        progress.show(vec![update(execution, seq)]);
    }
    assert!(began.elapsed() < Duration::from_secs(5), "took {:?}", began.elapsed());
    progress.watch(execution).await.err().expect("there is nothing to watch");
    progress.check().await.expect_err("nobody answers");
}
