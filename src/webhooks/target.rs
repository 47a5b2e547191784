//! Which URLs may be called. A tenant chooses them, and the service stands within a network: what is not on the public
//! internet is refused when a webhook is made, and, since names can point elsewhere later, at each connection.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Url, redirect};

/// The longest URL.
const MAX_URL_BYTES: usize = 2_000;

/// How far webhooks may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Public addresses, over https.
    Public,
    /// Anything, also over http: for tests and intranets.
    Private,
}

/// Whether an address is one of the public internet: by the registries of IANA, as of RFC 6890 and later.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || a == 0
        // Carrier-grade NAT, RFC 6598.
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        // The relays of 6to4, RFC 7526.
        || (a == 192 && b == 88 && c == 99)
        // Benchmarks, RFC 2544.
        || (a == 198 && (b == 18 || b == 19))
        // Multicast, reserved, broadcast.
        || a >= 224)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    // Global unicast is 2000::/3, so addresses that hold one of IPv4 by ::ffff:0:0/96 or 64:ff9b::/96 are out.
    (a & 0xe000) == 0x2000
        // Protocol assignments with Teredo; documentation; 6to4, which holds an address of IPv4; documentation.
        && !(a == 0x2001 && b < 0x200)
        && !(a == 0x2001 && b == 0xdb8)
        && a != 0x2002
        && !(a == 0x3fff && b < 0x1000)
}

impl Reach {
    /// Checks a URL, with the address if that is its host.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(self, text: &str) -> Result<Url, String> {
        if text.len() > MAX_URL_BYTES {
            return Err(format!("the URL is longer than {MAX_URL_BYTES} bytes"));
        }
        let url = Url::parse(text).map_err(|_| "this is not a URL such as https://example.org/hook")?;
        match (url.scheme(), self) {
            ("https", _) | ("http", Self::Private) => {}
            ("http", Self::Public) => return Err("the URL does not begin with https://".to_owned()),
            _ => {
                return Err(
                    "the URL begins neither with https:// nor, where that is allowed, http://".to_owned()
                );
            }
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("the URL holds a user name or password; deliveries are signed instead".to_owned());
        }
        if url.fragment().is_some() {
            return Err("the URL has a fragment, which would never be sent".to_owned());
        }
        let host = url.host_str().ok_or("the URL has no host")?;
        // However an address was written, it is in its plain form by now.
        match host.trim_start_matches('[').trim_end_matches(']').parse() {
            Ok(address) if self == Self::Public && !is_public(address) => Err(refusal(address)),
            _ => Ok(url),
        }
    }

    /// A client that goes no further. It takes no proxy, which would connect in its place, and follows no redirect.
    pub(super) fn client(self, timeout: std::time::Duration) -> Result<reqwest::Client, reqwest::Error> {
        // Whoever comes first installs it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        reqwest::Client::builder()
            .user_agent(concat!("mercuriale/", env!("CARGO_PKG_VERSION")))
            .timeout(timeout)
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            // Connections are for one delivery after the other, not to be kept by thousands.
            .pool_max_idle_per_host(1)
            .pool_idle_timeout(std::time::Duration::from_secs(10))
            .dns_resolver(std::sync::Arc::new(Resolver(self)))
            .build()
    }
}

fn refusal(address: IpAddr) -> String {
    format!(
        "{address} is not an address of the public internet; the operator may allow it by \
         MERCURIALE_WEBHOOK_ALLOW_PRIVATE"
    )
}

/// The system's resolver, less what is out of reach. The connection is made to the very addresses that were checked.
struct Resolver(Reach);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.0;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            Ok(within(reach, found)?)
        })
    }
}

/// The addresses within reach; an error if there are none.
fn within(reach: Reach, found: impl Iterator<Item = SocketAddr>) -> Result<Addrs, std::io::Error> {
    let found: Vec<SocketAddr> = found.collect();
    let refused = found.first().map(SocketAddr::ip);
    let reached: Vec<SocketAddr> =
        found.into_iter().filter(|address| reach == Reach::Private || is_public(address.ip())).collect();
    match refused {
        Some(address) if reached.is_empty() => Err(std::io::Error::other(refusal(address))),
        _ => Ok(Box::new(reached.into_iter())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_public_internet_are() {
        for address in [
            "8.8.8.8",
            "172.32.0.1",
            "100.63.0.1",
            "100.128.0.1",
            "192.0.1.1",
            "2606:4700::1111",
            "2001:4860::1",
        ] {
            assert!(is_public(address.parse().expect("an address")), "{address}");
        }
        for address in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "::7f00:1",
            "64:ff9b::7f00:1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "100::1",
        ] {
            assert!(!is_public(address.parse().expect("an address")), "{address}");
        }
    }

    #[test]
    fn urls_that_lead_inside_are_refused_however_they_are_written() {
        for url in ["https://example.org/hook?a=1", "https://example.org:8443/", "https://8.8.8.8/"] {
            assert!(Reach::Public.check(url).is_ok(), "{url}");
        }
        for url in [
            "http://example.org/",
            "ftp://example.org/",
            "https://u:p@example.org/",
            "https://example.org/#a",
            "example.org",
            "https://127.0.0.1/",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://0177.0.0.1/",
            "https://[::1]/",
            "https://[::ffff:10.0.0.1]/",
            "https://169.254.169.254/latest/meta-data",
            "file:///etc/passwd",
            "https://",
        ] {
            assert!(Reach::Public.check(url).is_err(), "{url}");
        }
        assert!(Reach::Public.check(&format!("https://example.org/{}", "x".repeat(2_000))).is_err());
        for url in ["http://127.0.0.1:8080/", "https://[::1]/", "https://10.0.0.1/"] {
            assert!(Reach::Private.check(url).is_ok(), "{url}");
        }
        assert!(Reach::Private.check("ftp://127.0.0.1/").is_err());
    }

    #[test]
    fn a_name_that_points_inside_leads_nowhere() {
        let addresses = |texts: &[&str]| {
            texts.iter().map(|text| SocketAddr::new(text.parse().expect("an address"), 0)).collect::<Vec<_>>()
        };
        let inside = addresses(&["127.0.0.1", "::1"]);
        let error = within(Reach::Public, inside.clone().into_iter()).err().expect("refused").to_string();
        assert!(error.contains("127.0.0.1 is not an address of the public internet"), "{error}");
        assert_eq!(within(Reach::Private, inside.into_iter()).expect("allowed").count(), 2);
        let mixed =
            within(Reach::Public, addresses(&["10.0.0.1", "8.8.8.8"]).into_iter()).expect("one is left");
        assert_eq!(mixed.collect::<Vec<_>>(), addresses(&["8.8.8.8"]));
    }
}
