//! Where components may connect to, and the one HTTP client that keeps to it.
//!
//! Private, loopback, link-local and metadata addresses are blocked unless the operator names them.
//! A name is resolved once, by the client itself, and only addresses that pass are connected to, so
//! that a name cannot point elsewhere between the check and the connection.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use ipnet::IpNet;
use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where components may connect to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What is allowed although it is private, loopback or on an unusual port.
    ///
    /// Each entry is a host and port (`shop.internal:9000`, `127.0.0.1:8080`), a host (`shop.internal`, any
    /// port), or a network (`10.1.0.0/16`, any port of `ports`). A host named with ports is reached on those alone.
    pub allow: Vec<String>,
    /// The ports that may be used without being named in `allow`.
    pub ports: Vec<u16>,
    /// Seconds that making a connection may take.
    pub connect_timeout_seconds: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { allow: Vec::new(), ports: vec![80, 443, 8080, 8443], connect_timeout_seconds: 10 }
    }
}

/// An entry of `allow` that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither a host, a host and port, nor a network such as 10.1.0.0/16")]
pub struct AllowError(String);

/// An address or host that may not be reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Denied(String);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Allowed {
    Network(IpNet),
    Host { host: String, port: Option<u16> },
}

/// The rules, read.
#[derive(Debug, Clone)]
pub struct Rules {
    allow: Vec<Allowed>,
    ports: Vec<u16>,
}

fn plain_host(host: &str) -> String {
    host.trim_end_matches('.').trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase()
}

fn allowed(entry: &str) -> Option<Allowed> {
    let entry = entry.trim();
    if let Ok(network) = entry.parse::<IpNet>() {
        return Some(Allowed::Network(network));
    }
    if let Ok(socket) = entry.parse::<SocketAddr>() {
        return Some(Allowed::Host { host: socket.ip().to_string(), port: Some(socket.port()) });
    }
    if let Ok(address) = entry.parse::<IpAddr>() {
        return Some(Allowed::Host { host: address.to_string(), port: None });
    }
    let (host, port) = match entry.rsplit_once(':') {
        Some((host, port)) => (host, Some(port.parse::<u16>().ok()?)),
        None => (entry, None),
    };
    let well_formed = !host.is_empty()
        && host.len() <= 253
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.' || b == b'_');
    well_formed.then(|| Allowed::Host { host: plain_host(host), port })
}

impl Rules {
    /// Reads the rules.
    ///
    /// # Errors
    /// The first entry of `allow` that cannot be read.
    pub fn new(config: &Config) -> Result<Self, AllowError> {
        let allow = config
            .allow
            .iter()
            .map(|entry| allowed(entry).ok_or_else(|| AllowError(entry.chars().take(80).collect())))
            .collect::<Result<_, _>>()?;
        Ok(Self { allow, ports: config.ports.clone() })
    }

    fn network_allows(&self, address: IpAddr) -> bool {
        let bare = unmapped(address);
        self.allow.iter().any(|allowed| match allowed {
            Allowed::Network(network) => network.contains(&bare) || network.contains(&address),
            Allowed::Host { .. } => false,
        })
    }

    fn names_host(&self, host: &str) -> bool {
        self.allow.iter().any(|allowed| matches!(allowed, Allowed::Host { host: named, .. } if named == host))
    }

    /// Checks an address that a name was resolved to.
    pub fn check_address(&self, host: &str, address: IpAddr) -> Result<(), Denied> {
        if self.names_host(&plain_host(host)) || self.network_allows(address) {
            return Ok(());
        }
        match blocked(address) {
            Some(why) => Err(Denied(format!(
                "`{host}` is at a {why} address, which is blocked; the operator can allow it with `egress.allow`"
            ))),
            None => Ok(()),
        }
    }

    /// Checks all of a URL that is known before its name is resolved.
    pub fn check_url(&self, url: &Url) -> Result<(), Denied> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Denied(format!("`{}:` is not allowed; only http and https are", url.scheme())));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Denied("a URL may not hold a user name or password; use `auth`".to_owned()));
        }
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
            return Err(Denied("the URL has no host".to_owned()));
        };
        let host = plain_host(host);
        let named: Vec<Option<u16>> = self
            .allow
            .iter()
            .filter_map(|allowed| match allowed {
                Allowed::Host { host: known, port } if *known == host => Some(*port),
                _ => None,
            })
            .collect();
        if named.iter().any(|allowed| allowed.is_none_or(|allowed| allowed == port)) {
            return Ok(());
        }
        if !named.is_empty() {
            return Err(Denied(format!(
                "`{host}` may not be reached on port {port}; the operator can allow it with `{host}:{port}` in `egress.allow`"
            )));
        }
        let literal = host.parse::<IpAddr>().ok();
        if let Some(address) = literal {
            if self.network_allows(address) {
                return Ok(());
            }
            self.check_address(&host, address)?;
        }
        if !self.ports.contains(&port) {
            return Err(Denied(format!(
                "port {port} may not be used; the operator can allow it with `{host}:{port}` in `egress.allow`"
            )));
        }
        Ok(())
    }
}

/// The IPv4 address that an IPv6 one stands for.
fn unmapped(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(six) => six.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

/// Why an address is blocked, if it is.
///
/// Source: the IANA registries of special-purpose addresses for IPv4 and IPv6.
pub fn blocked(address: IpAddr) -> Option<&'static str> {
    match unmapped(address) {
        IpAddr::V4(four) => blocked_v4(four),
        IpAddr::V6(six) => blocked_v6(six),
    }
}

fn blocked_v4(address: Ipv4Addr) -> Option<&'static str> {
    Some(match address.octets() {
        [0, ..] => "this-network",
        [127, ..] => "loopback",
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => "private",
        // The second is Azure's, outside every private range.
        [169, 254, 169, 254] | [168, 63, 129, 16] => "metadata",
        [169, 254, ..] => "link-local",
        [100, 64..=127, ..] => "carrier-grade NAT",
        [192, 0, 0, _] => "protocol assignment",
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => "documentation",
        [192, 88, 99, _] => "6to4 relay",
        [198, 18..=19, ..] => "benchmarking",
        [224..=239, ..] => "multicast",
        [240..=255, ..] => "reserved",
        _ => return None,
    })
}

fn blocked_v6(address: Ipv6Addr) -> Option<&'static str> {
    Some(match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => "unspecified",
        [0, 0, 0, 0, 0, 0, 0, 1] => "loopback",
        [0, 0, 0, 0, 0, 0, ..] => "IPv4-compatible",
        [0xfe80..=0xfebf, ..] => "link-local",
        [0xfec0..=0xfeff, ..] => "site-local",
        [0xfc00..=0xfdff, ..] => "private",
        [0xff00..=0xffff, ..] => "multicast",
        [0x64, 0xff9b, ..] => "NAT64",
        [0x100, 0, 0, 0..=1, ..] => "discard-only",
        [0x2001, 0..=0x1ff, ..] => "protocol assignment",
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => "documentation",
        [0x2002, ..] => "6to4",
        [0x5f00, ..] => "segment routing",
        _ => return None,
    })
}

struct Resolver {
    rules: Arc<Rules>,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let rules = self.rules.clone();
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let mut passed: Vec<SocketAddr> = Vec::new();
            let mut denied = None;
            for found in tokio::net::lookup_host((host.as_str(), 0)).await? {
                match rules.check_address(&host, found.ip()) {
                    Ok(()) => passed.push(found),
                    Err(why) => denied = Some(why),
                }
            }
            match denied {
                Some(why) if passed.is_empty() => Err(why.into()),
                _ => Ok(Box::new(passed.into_iter()) as Addrs),
            }
        })
    }
}

/// The one client of every component that speaks HTTP.
///
/// It follows no redirect by itself, keeps no cookies and reads no proxy variables.
#[derive(Clone)]
pub struct Client {
    rules: Arc<Rules>,
    http: reqwest::Client,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("rules", &self.rules).finish_non_exhaustive()
    }
}

/// The client could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    #[error(transparent)]
    Allow(#[from] AllowError),
    /// No TLS roots, or the like.
    #[error("the HTTP client cannot be made")]
    Http(#[source] reqwest::Error),
}

impl Client {
    /// Makes the client; once for each process.
    pub fn new(config: &Config) -> Result<Self, ClientError> {
        let rules = Arc::new(Rules::new(config)?);
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .connect_timeout(Duration::from_secs(u64::from(config.connect_timeout_seconds)))
            .dns_resolver(Arc::new(Resolver { rules: rules.clone() }))
            .user_agent(concat!("apg-workflow/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(ClientError::Http)?;
        Ok(Self { rules, http })
    }

    /// A request to a URL that passes the rules.
    pub fn request(&self, method: reqwest::Method, url: Url) -> Result<reqwest::RequestBuilder, Denied> {
        self.rules.check_url(&url)?;
        Ok(self.http.request(method, url))
    }
}

/// The denial inside a client's error, if that is why it failed.
pub fn denial<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Denied> {
    std::iter::successors(Some(error), |error| error.source())
        .find_map(|error| error.downcast_ref::<Denied>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(allow: &[&str]) -> Rules {
        Rules::new(&Config { allow: allow.iter().map(ToString::to_string).collect(), ..Config::default() })
            .expect("rules")
    }

    #[test]
    fn every_special_range_is_blocked() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "168.63.129.16",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fdff::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(blocked(text.parse().expect(text)).is_some(), "{text}");
        }
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.167.0.1",
            "198.17.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00::1",
            "::ffff:1.1.1.1",
        ] {
            assert_eq!(blocked(text.parse().expect(text)), None, "{text}");
        }
    }

    #[test]
    fn every_spelling_of_a_blocked_url_is_refused() {
        let rules = rules(&[]);
        for text in [
            "http://127.0.0.1/",
            "http://127.1/",
            "http://2130706433/",
            "http://0x7f000001/",
            "http://0x7f.1/",
            "http://0177.0.0.1/",
            "http://017700000001/",
            "http://127.0.0.1./",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:7f00:1]/",
            "http://[0:0:0:0:0:0:0:1]/",
            "http://0/",
            "http://0.0.0.0/",
            "http://169.254.169.254/latest/meta-data",
            "http://[fd00:ec2::254]/",
            "http://10.0.0.1/",
            "http://192.168.1.1:8080/",
            "http://１２７.０.０.１/",
            "http://127。0。0。1/",
            "http://[64:ff9b::10.0.0.1]/",
            "http://[2002:a00:1::]/",
            "ftp://example.com/",
            "file:///etc/passwd",
            "gopher://example.com/",
            "http://user:pw@example.com/",
            "http://user@example.com/",
            "http://example.com:22/",
            "http://example.com:6379/",
            "https://example.com:8444/",
        ] {
            let url = Url::parse(text).expect(text);
            assert!(rules.check_url(&url).is_err(), "{text}");
        }
        for text in [
            "http://example.com/",
            "https://example.com:8443/",
            "http://1.1.1.1/",
            "http://EXAMPLE.com:8080/",
        ] {
            assert_eq!(rules.check_url(&Url::parse(text).expect(text)), Ok(()), "{text}");
        }
    }

    #[test]
    fn the_allow_list_opens_what_it_names_and_no_more() {
        let rules = rules(&["127.0.0.1:9000", "10.1.0.0/16", "Shop.internal:9000", "other.internal"]);
        for (text, passes) in [
            ("http://127.0.0.1:9000/", true),
            ("http://127.0.0.1:9001/", false),
            ("http://127.0.0.2:9000/", false),
            ("http://10.1.2.3:81/", true),
            ("http://10.2.2.3/", false),
            ("http://shop.internal:9000/", true),
            ("http://shop.internal./", false),
            ("http://shop.internal/", false),
            ("http://other.internal:1234/", true),
        ] {
            assert_eq!(rules.check_url(&Url::parse(text).expect(text)).is_ok(), passes, "{text}");
        }
        let loopback = "127.0.0.1".parse().expect("an address");
        assert!(rules.check_address("other.internal", loopback).is_ok());
        assert!(rules.check_address("elsewhere.example", loopback).is_err());
        assert!(rules.check_address("elsewhere.example", "10.1.9.9".parse().expect("an address")).is_ok());
    }

    #[test]
    fn a_wrong_entry_is_named() {
        for wrong in ["", "http://a", "a:b", "10.0.0.0/40", "a b"] {
            let config = Config { allow: vec![wrong.to_owned()], ..Config::default() };
            assert!(Rules::new(&config).is_err(), "{wrong}");
        }
    }
}
