//! A TCP proxy between one process and one service: passes, cuts off, or goes silent.
//!
//! Silence matters most: the connection stays open and nothing moves, so only heartbeats and time-outs
//! find it. It speaks no protocol, so it cannot stand before a service that proves its name with TLS.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use anyhow::{Context, Result, bail};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinSet,
};

use crate::Beside;

/// What the proxy does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Doing {
    is_silent: bool,
    /// Connections of an earlier generation are cut off.
    generation: u64,
}

/// A proxy; it ends when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    pub port: u16,
    doing: watch::Sender<Doing>,
    open: Arc<AtomicUsize>,
    _carrier: Beside,
}

impl Proxy {
    /// Starts one before a service (`host:port`) on a loopback port.
    pub async fn start(service: &str) -> Result<Self> {
        Self::start_at(0, service).await
    }

    /// The same on a port of one's choice.
    pub async fn start_at(port: u16, service: &str) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port))
            .await
            .with_context(|| format!("a proxy cannot listen on 127.0.0.1:{port}"))?;
        let port = listener.local_addr().context("the port of a proxy")?.port();
        let (doing, watched) = watch::channel(Doing { is_silent: false, generation: 0 });
        let open = Arc::new(AtomicUsize::new(0));
        let (counted, service) = (Arc::clone(&open), service.to_owned());
        let carrier = Beside::run(async move {
            let mut carried = JoinSet::new();
            loop {
                tokio::select! {
                    Some(_) = carried.join_next() => {}
                    accepted = listener.accept() => {
                        // Out of file descriptors: the client tries again, and so may this.
                        let Ok((client, _)) = accepted else { continue };
                        let (watched, counted, service) = (watched.clone(), Arc::clone(&counted), service.clone());
                        carried.spawn(async move {
                            counted.fetch_add(1, Ordering::Relaxed);
                            // A connection that breaks is what proxies are for.
                            let _ = carry(client, &service, watched).await;
                            counted.fetch_sub(1, Ordering::Relaxed);
                        });
                    }
                }
            }
        });
        Ok(Self { port, doing, open, _carrier: carrier })
    }

    /// Starts one before the service of an address; the address that leads through it.
    ///
    /// # Errors
    /// When the address asks for TLS, whose names a proxy cannot keep.
    pub async fn before(url: &str) -> Result<(Self, String)> {
        let parsed = reqwest::Url::parse(url).context("the address of a service cannot be read")?;
        let wants_tls = parsed.query_pairs().any(|(key, value)| {
            key == "sslmode" && matches!(&*value, "require" | "verify-ca" | "verify-full")
        });
        let port = match parsed.scheme() {
            "postgres" | "postgresql" if !wants_tls => 5432,
            "amqp" => 5672,
            "redis" => 6379,
            other => bail!(
                "connections over `{other}` cannot be cut off: the proxy stands between a process and a service \
                 without TLS. Give an address without TLS, as a test cluster may have"
            ),
        };
        let host = parsed.host_str().context("the address of a service names no host")?;
        let proxy = Self::start(&format!("{host}:{}", parsed.port().unwrap_or(port))).await?;
        let through = through(url, proxy.port)?;
        Ok((proxy, through))
    }

    /// Cuts every connection off; new ones pass. How many there were.
    pub fn reset(&self) -> usize {
        self.doing.send_modify(|doing| doing.generation += 1);
        self.open.load(Ordering::Relaxed)
    }

    /// Keeps connections open and moves nothing, or goes on.
    pub fn silence(&self, is_silent: bool) {
        self.doing.send_modify(|doing| doing.is_silent = is_silent);
    }
}

async fn carry(client: TcpStream, service: &str, mut doing: watch::Receiver<Doing>) -> Result<()> {
    let generation = doing.borrow().generation;
    doing.wait_for(|doing| !doing.is_silent || doing.generation != generation).await?;
    let server = TcpStream::connect(service).await?;
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

/// The same address with a loopback port.
pub fn through(url: &str, port: u16) -> Result<String> {
    let mut url = reqwest::Url::parse(url).context("the address of a service")?;
    url.set_host(Some("127.0.0.1")).context("an address with a host")?;
    url.set_port(Some(port)).ok().context("an address with a port")?;
    Ok(url.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use tokio::time::timeout;

    /// A service that answers each byte with the same.
    async fn echo() -> (Beside, String) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let served = Beside::run(async move {
            let mut open = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                open.spawn(async move {
                    let mut byte = [0];
                    while stream.read_exact(&mut byte).await.is_ok() && stream.write_all(&byte).await.is_ok()
                    {
                    }
                });
            }
        });
        (served, address)
    }

    async fn says(stream: &mut TcpStream, byte: u8) -> bool {
        let mut answer = [0];
        stream.write_all(&[byte]).await.is_ok()
            && stream.read_exact(&mut answer).await.is_ok()
            && answer == [byte]
    }

    #[tokio::test]
    async fn it_passes_goes_silent_and_cuts_off() {
        let (_served, address) = echo().await;
        let proxy = Proxy::start(&address).await.expect("a proxy");
        let mut stream = TcpStream::connect(("127.0.0.1", proxy.port)).await.expect("a connection");
        assert!(says(&mut stream, 1).await);
        proxy.silence(true);
        assert!(timeout(Duration::from_millis(200), says(&mut stream, 2)).await.is_err(), "silent");
        proxy.silence(false);
        let mut answer = [0];
        stream.read_exact(&mut answer).await.expect("what was said in the silence comes after it");
        assert_eq!(proxy.reset(), 1);
        assert!(!says(&mut stream, 3).await, "cut off");
        let mut again = TcpStream::connect(("127.0.0.1", proxy.port)).await.expect("a connection");
        assert!(says(&mut again, 4).await, "new ones pass");
    }

    #[tokio::test]
    async fn an_address_leads_through_it_and_one_with_tls_is_refused() {
        let (proxy, url) = Proxy::before("postgres://u:p@localhost:1/d").await.expect("a proxy");
        assert_eq!(url, format!("postgres://u:p@127.0.0.1:{}/d", proxy.port));
        let refused = Proxy::before("amqps://broker.example").await.expect_err("TLS");
        assert!(refused.to_string().contains("without TLS"), "{refused}");
        assert!(Proxy::before("postgres://localhost/d?sslmode=verify-full").await.is_err());
    }
}
