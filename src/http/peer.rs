//! Whose request it is: the address at the other end of the connection, or the one that a trusted proxy names.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use warp::http::header::HeaderMap;

/// What a proxy appends the address of its client to.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// The other end of the connection that a request came over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// Whether the connection is encrypted.
    pub tls: bool,
}

/// The address of the client. Proxies append to the header, so that it is read from its end: each entry was written by
/// the one after it, and counts where that one is trusted. What is before an entry that is no address may be the
/// client's own invention.
pub(super) fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let mut client = peer.to_canonical();
    if trusted.is_empty() {
        return client;
    }
    let lines: Vec<_> = headers.get_all(FORWARDED_FOR).iter().collect();
    for line in lines.iter().rev() {
        // A line of other bytes ends the walk as an entry of them does.
        for entry in line.as_bytes().rsplit(|&byte| byte == b',') {
            if !trusted.iter().any(|network| network.contains(&client)) {
                return client;
            }
            let Some(address) = str::from_utf8(entry).ok().and_then(parse) else {
                return client;
            };
            client = address;
        }
    }
    client
}

/// An address, with a port or without, as proxies write it.
fn parse(entry: &str) -> Option<IpAddr> {
    let entry = entry.trim();
    let bare = entry.strip_prefix('[').and_then(|e| e.strip_suffix(']'));
    let ip = bare.unwrap_or(entry).parse().ok().or_else(|| {
        let address: SocketAddr = entry.parse().ok()?;
        Some(address.ip())
    })?;
    Some(ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use warp::http::HeaderValue;

    use super::*;

    fn client_of(peer: &str, lines: &[&str], trusted: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            let value = HeaderValue::from_bytes(line.as_bytes()).expect("a value");
            headers.append(FORWARDED_FOR, value);
        }
        let trusted: Vec<_> = trusted
            .iter()
            .map(|network| network.parse().expect("a network"))
            .collect();
        client(peer.parse().expect("an address"), &headers, &trusted).to_string()
    }

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        let proxies = &["10.0.0.0/8", "fd00::/8"][..];
        for (peer, lines, client) in [
            ("203.0.113.9", &["1.2.3.4"][..], "203.0.113.9"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["1.2.3.4"], "1.2.3.4"),
            // The client wrote the first itself.
            ("10.0.0.1", &["6.6.6.6, 1.2.3.4"], "1.2.3.4"),
            ("10.0.0.1", &["6.6.6.6", "1.2.3.4"], "1.2.3.4"),
            ("10.0.0.1", &["6.6.6.6, 1.2.3.4, 10.0.0.2"], "1.2.3.4"),
            ("10.0.0.1", &["1.2.3.4", "10.0.0.2"], "1.2.3.4"),
            // All of them proxies: a client of our own network.
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            // Rubbish ends the walk where it was.
            ("10.0.0.1", &["1.2.3.4, what, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["1.2.3.4, what"], "10.0.0.1"),
            ("10.0.0.1", &["1.2.3.4,"], "10.0.0.1"),
            ("10.0.0.1", &[""], "10.0.0.1"),
            ("10.0.0.1", &["\u{e9}, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["1.2.3.4:5678"], "1.2.3.4"),
            ("10.0.0.1", &["[2001:db8::1]:5678"], "2001:db8::1"),
            ("10.0.0.1", &["[2001:db8::1]"], "2001:db8::1"),
            ("10.0.0.1", &["unknown"], "10.0.0.1"),
            ("::ffff:10.0.0.1", &["::ffff:1.2.3.4"], "1.2.3.4"),
            ("fd00::1", &["2001:db8::1"], "2001:db8::1"),
        ] {
            assert_eq!(client_of(peer, lines, proxies), client, "{peer} {lines:?}");
        }
        assert_eq!(client_of("10.0.0.1", &["1.2.3.4"], &[]), "10.0.0.1");
    }
}
