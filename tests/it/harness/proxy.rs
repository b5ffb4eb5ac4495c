//! A TCP proxy between one process and one service: passes, cuts off, or goes silent.
//!
//! Silence matters most: the connection stays open and nothing moves, so only heartbeats and time-outs
//! find it.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

/// What the proxy does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Doing {
    is_silent: bool,
    /// Connections of an earlier generation are cut off.
    generation: u64,
}

/// A proxy.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    doing: watch::Sender<Doing>,
    open: Arc<AtomicUsize>,
}

impl Proxy {
    /// Starts one before a service on a loopback port.
    pub(crate) async fn start(service: u16) -> Result<Self> {
        Self::start_at(0, service).await
    }

    /// The same on a port of one's choice.
    pub(crate) async fn start_at(port: u16, service: u16) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let port = listener.local_addr()?.port();
        let (doing, watched) = watch::channel(Doing { is_silent: false, generation: 0 });
        let open = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&open);
        super::beside(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (watched, counted) = (watched.clone(), Arc::clone(&counted));
                super::beside(async move {
                    counted.fetch_add(1, Ordering::Relaxed);
                    // A connection that breaks is what proxies are for.
                    let _ = carry(client, service, watched).await;
                    counted.fetch_sub(1, Ordering::Relaxed);
                });
            }
        });
        Ok(Self { port, doing, open })
    }

    /// Cuts every connection off; new ones pass. How many there were.
    pub(crate) fn reset(&self) -> usize {
        self.doing.send_modify(|doing| doing.generation += 1);
        self.open.load(Ordering::Relaxed)
    }

    /// Keeps connections open and moves nothing, or goes on.
    pub(crate) fn silence(&self, is_silent: bool) {
        self.doing.send_modify(|doing| doing.is_silent = is_silent);
    }
}

async fn carry(client: TcpStream, service: u16, mut doing: watch::Receiver<Doing>) -> Result<()> {
    let generation = doing.borrow().generation;
    doing.wait_for(|doing| !doing.is_silent || doing.generation != generation).await?;
    let server = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], service))).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let mut cut = doing.clone();
    tokio::select! {
        _ = pump(from_client, to_server, doing.clone()) => {}
        _ = pump(from_server, to_client, doing) => {}
        _ = cut.wait_for(|doing| doing.generation != generation) => {}
    }
    Ok(())
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut doing: watch::Receiver<Doing>,
) -> Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        doing.wait_for(|doing| !doing.is_silent).await?;
        to.write_all(&buffer[..count]).await?;
    }
}

/// The same address with another port of this machine.
pub(crate) fn through(url: &str, port: u16) -> Result<String> {
    let mut url = reqwest::Url::parse(url).context("the address of a service")?;
    url.set_host(Some("127.0.0.1")).context("an address with a host")?;
    url.set_port(Some(port)).ok().context("an address with a port")?;
    Ok(url.to_string())
}
