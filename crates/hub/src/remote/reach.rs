//! Which addresses a hub may lead to.
//!
//! A hub answers with redirects and addresses to upload to. One that is hostile, or was taken over, could lead to what only
//! this machine can reach: its own services, those of the company, the cloud's metadata. So nothing is followed that is
//! nearer than the hub itself: a public hub leads to public addresses only, one in the company's network to those and to
//! that network, one on this machine to all three. What is checked are the addresses that are connected to, each time, so
//! that a name cannot change its meaning in between. Behind a proxy it is mostly the proxy that resolves names (not with
//! `socks5://`); there, and before, a name is as near as it says itself (`localhost`, `db.internal`, `printer`).

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, OnceLock};

/// How near an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reach {
    /// Anybody can reach it.
    Public = 0,
    /// Whoever is in the same network can; also what proxies on this machine answer for every name (198.18.0.0/15).
    Private = 1,
    /// Only this machine can.
    Loopback = 2,
    /// No hub has it: link-local, where clouds serve their metadata, multicast, reserved.
    Never = 3,
}

impl Reach {
    /// Of an address.
    pub(super) fn of(address: IpAddr) -> Reach {
        match address {
            IpAddr::V4(v4) => Reach::of_v4(v4),
            IpAddr::V6(v6) => Reach::of_v6(v6),
        }
    }

    /// Of what a URL says: its address, or a name that only a private network or this machine has.
    fn of_url(url: &Url) -> Reach {
        if let Some(address) = literal(url) {
            return Reach::of(address);
        }
        let host = url.host_str().unwrap_or_default().trim_end_matches('.').to_ascii_lowercase();
        let within =
            |domain: &str| host == domain || host.strip_suffix(domain).is_some_and(|h| h.ends_with('.'));
        if host == "metadata.google.internal" {
            Reach::Never
        } else if within("localhost") {
            Reach::Loopback
        } else if within("internal") || within("local") || !host.contains('.') {
            Reach::Private
        } else {
            Reach::Public
        }
    }

    fn of_v4(address: Ipv4Addr) -> Reach {
        match address.octets() {
            [127, ..] => Reach::Loopback,
            // the metadata of Alibaba Cloud lies in the space of carriers
            [100, 100, 100, 200] => Reach::Never,
            [10, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] | [198, 18..=19, ..] => {
                Reach::Private
            }
            [0, ..] | [169, 254, ..] | [192, 0, 0, _] | [192, 0, 2, _] | [198, 51, 100, _] => Reach::Never,
            [203, 0, 113, _] | [224..=255, ..] => Reach::Never,
            _ => Reach::Public,
        }
    }

    fn of_v6(address: Ipv6Addr) -> Reach {
        let v4 = |high: u16, low: u16| Reach::of_v4(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
        match address.segments() {
            [0, 0, 0, 0, 0, 0, 0, 1] => Reach::Loopback,
            // IPv4 in its clothes: mapped, by NAT64, by 6to4
            [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
            [0x2002, high, low, ..] => v4(high, low),
            // the metadata of Amazon's cloud lies among private addresses
            [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254] => Reach::Never,
            [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..] | [0x64, 0xff9b, 1, ..] => Reach::Private,
            [0xfe80..=0xfebf, ..] | [0xff00..=0xffff, ..] | [0, ..] => Reach::Never,
            // documentation, Teredo
            [0x2001, 0xdb8, ..] | [0x2001, 0, ..] => Reach::Never,
            _ => Reach::Public,
        }
    }
}

/// An address that the hub must not lead to.
#[derive(Debug, thiserror::Error)]
#[error("`{host}` is at {address}, which is nearer than the hub itself, and a hub must not lead there")]
pub(super) struct Forbidden {
    host: String,
    address: IpAddr,
}

/// Resolves names, and refuses those that lie nearer than the hub.
#[derive(Debug)]
pub(super) struct Guard {
    /// The hub's own host, which the person named: it may lie anywhere.
    hub: String,
    /// Those of the proxies that the person set: they are asked for everything, and redirects must not name them.
    proxies: Vec<String>,
    /// How near the hub's name or address says that it is.
    named: Reach,
    /// How near it was when it was first resolved, which comes before anything that it says.
    found: OnceLock<Reach>,
}

impl Guard {
    /// For the hub at `endpoint`.
    pub(super) fn new(endpoint: &Url) -> Arc<Guard> {
        Arc::new(Guard {
            hub: endpoint.host_str().unwrap_or_default().to_owned(),
            proxies: proxies(),
            named: Reach::of_url(endpoint).min(Reach::Loopback),
            found: OnceLock::new(),
        })
    }

    /// Why the hub must not lead to `url`, as far as that itself says: what a name stands for is checked when it is resolved.
    pub(super) fn refuses(&self, url: &Url) -> Option<&'static str> {
        let host = url.host_str().unwrap_or_default();
        if host == self.hub {
            return None;
        }
        if self.proxies.iter().any(|proxy| proxy == host) {
            return Some("that is the proxy");
        }
        let near = !self.allows(Reach::of_url(url));
        near.then_some("that is in a private network or on this machine")
    }

    fn allows(&self, reach: Reach) -> bool {
        reach <= *self.found.get().unwrap_or(&self.named)
    }

    /// Checks what `host` was resolved to.
    fn check(&self, host: &str, addresses: &[SocketAddr]) -> Result<(), Forbidden> {
        if host == self.hub && self.found.get().is_none() {
            // its name may not come nearer later
            let reach = addresses.iter().map(|a| Reach::of(a.ip())).max().unwrap_or(Reach::Public);
            let _ = self.found.set(reach.min(Reach::Loopback));
            return Ok(());
        }
        if self.proxies.iter().any(|proxy| proxy == host) {
            return Ok(());
        }
        // the person named the hub, wherever it is
        let most = if host == self.hub { Reach::Loopback } else { Reach::Never };
        match addresses.iter().find(|address| !self.allows(Reach::of(address.ip()).min(most))) {
            Some(address) => Err(Forbidden { host: host.to_owned(), address: address.ip() }),
            None => Ok(()),
        }
    }
}

/// The resolver of a client.
#[derive(Clone)]
pub(super) struct Resolver(pub(super) Arc<Guard>);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.0.clone();
        Box::pin(async move {
            let host = name.as_str();
            // the port is set by who connects
            let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, 0)).await?.collect();
            guard.check(host, &addresses)?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// The address that a URL has in place of a name.
fn literal(url: &Url) -> Option<IpAddr> {
    url.host_str()?.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// The hosts of the proxies in the environment.
fn proxies() -> Vec<String> {
    let names = ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];
    let host = |name| {
        let value = std::env::var(name).ok()?;
        let url = Url::parse(&value).ok().filter(|url| url.has_host());
        url.or_else(|| Url::parse(&format!("http://{value}")).ok())?.host_str().map(str::to_owned)
    };
    names.into_iter().filter_map(host).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_as_near_as_whoever_reaches_them() {
        for (reach, addresses) in [
            (Reach::Public, "1.1.1.1 8.8.8.8 172.32.0.1 192.0.1.1 100.128.0.1 2606:4700::1 64:ff9b::808:808"),
            (
                Reach::Private,
                "10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 100.64.0.1 198.18.0.9 fd12::1 ::ffff:10.0.0.1",
            ),
            (Reach::Private, "64:ff9b::a00:1 2002:a00:1:: 64:ff9b:1::1"),
            (Reach::Loopback, "127.0.0.1 127.255.0.1 ::1 ::ffff:127.0.0.1 64:ff9b::7f00:1 2002:7f00:1::"),
            (
                Reach::Never,
                "0.0.0.0 169.254.169.254 100.100.100.200 224.0.0.1 255.255.255.255 192.0.0.192 240.0.0.1",
            ),
            (
                Reach::Never,
                ":: fe80::1 ff02::1 ::ffff:169.254.169.254 fd00:ec2::254 ::7f00:1 2001:db8::1 2001::1",
            ),
        ] {
            for address in addresses.split(' ') {
                assert_eq!(Reach::of(address.parse().unwrap()), reach, "{address}");
            }
        }
    }

    #[test]
    fn nothing_nearer_than_the_hub_is_followed() {
        let (public, private, loopback, never) = ("8.8.8.8", "10.0.0.2", "127.0.0.2", "169.254.169.254");
        for (hub, allowed) in [
            ("https://1.1.1.1", vec![public]),
            ("http://10.1.1.1:8000", vec![public, private]),
            ("http://127.0.0.1:8000", vec![public, private, loopback]),
            ("http://[::1]:8000", vec![public, private, loopback]),
            ("http://169.254.0.1", vec![public, private, loopback]),
        ] {
            let guard = Guard::new(&Url::parse(hub).unwrap());
            for address in [public, private, loopback, never] {
                let url = Url::parse(&format!("http://{address}/x")).unwrap();
                assert_eq!(guard.refuses(&url).is_none(), allowed.contains(&address), "{hub} {address}");
                let resolved = [
                    SocketAddr::new(public.parse().unwrap(), 0),
                    SocketAddr::new(address.parse().unwrap(), 0),
                ];
                assert_eq!(
                    guard.check("cdn.example", &resolved).is_ok(),
                    allowed.contains(&address),
                    "{hub} {address}"
                );
            }
            let itself = Url::parse(hub).unwrap().join("/y").unwrap();
            assert!(guard.refuses(&itself).is_none(), "{hub}");
        }
        // other ways to write it are the same address
        let guard = Guard::new(&Url::parse("https://1.1.1.1").unwrap());
        for text in
            ["http://2130706433/", "http://0x7f.1/", "http://017700000001/", "http://[::ffff:7f00:1]/"]
        {
            assert!(guard.refuses(&Url::parse(text).unwrap()).is_some(), "{text}");
        }
    }

    #[test]
    fn names_of_private_networks_are_near_also_where_a_proxy_resolves_them() {
        for (hub, allowed) in [
            ("https://hub.example", "cdn.example example.internal.com local.example"),
            ("http://hub.internal", "cdn.example example.internal.com local.example files.internal printer"),
            (
                "http://localhost:8000",
                "cdn.example example.internal.com local.example files.internal printer localhost a.localhost LOCALHOST.",
            ),
        ] {
            let guard = Guard::new(&Url::parse(hub).unwrap());
            for host in
                "cdn.example example.internal.com local.example files.internal printer localhost a.localhost \
                LOCALHOST. metadata.google.internal"
                    .split_whitespace()
            {
                let url = Url::parse(&format!("http://{host}/x")).unwrap();
                let is_allowed = allowed.split(' ').any(|name| name == host);
                assert_eq!(guard.refuses(&url).is_none(), is_allowed, "{hub} {host}");
            }
        }
    }

    #[test]
    fn a_named_hub_lies_where_it_was_found() {
        let guard = Guard::new(&Url::parse("http://hub.corp").unwrap());
        let at = |address: &str| [SocketAddr::new(address.parse().unwrap(), 0)];
        assert!(guard.check("files.corp", &at("10.0.0.3")).is_err());
        guard.check("hub.corp", &at("10.0.0.1")).unwrap();
        guard.check("files.corp", &at("10.0.0.3")).unwrap();
        assert!(guard.check("files.corp", &at("127.0.0.1")).is_err());
        guard.check("hub.corp", &at("10.0.0.9")).unwrap();
        assert!(guard.check("hub.corp", &at("127.0.0.1")).is_err(), "it comes nearer");
    }
}
