//! The resolvers of the host, which are asked for everything that is not ours.
//!
//! Reads `/etc/resolv.conf` again when it changes; never writes it. `upstream` asks it before each relayed query.

use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The port of every resolver that a resolv.conf can name.
const PORT: u16 = 53;
/// How long the files are taken to be unchanged without looking.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// The address of systemd's stub, which only relays to the resolvers in its own file.
const SYSTEMD_STUB: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 53));

/// The host's resolvers, as its files name them now.
#[derive(Debug)]
pub struct HostResolvers {
    own: Vec<IpAddr>,
    resolv_conf: PathBuf,
    systemd: PathBuf,
    look_again_after: Duration,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    looked: Option<Instant>,
    stamps: [Stamp; 2],
    servers: Vec<SocketAddr>,
}

/// What differs when a file was changed: device, inode, size, seconds and nanoseconds of its change; `None`: no file.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

impl HostResolvers {
    /// Those of this host, without the addresses in `own`: asking ourselves would never end.
    pub fn new(own: Vec<IpAddr>) -> HostResolvers {
        HostResolvers::at("/etc/resolv.conf".into(), "/run/systemd/resolve/resolv.conf".into(), own, LOOK_AGAIN_AFTER)
    }

    fn at(resolv_conf: PathBuf, systemd: PathBuf, own: Vec<IpAddr>, look_again_after: Duration) -> HostResolvers {
        HostResolvers { own, resolv_conf, systemd, look_again_after, seen: Mutex::default() }
    }

    /// The resolvers in the order to ask them; empty when the host has none.
    pub fn current(&self) -> Vec<SocketAddr> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.looked.is_some_and(|at| at.elapsed() < self.look_again_after) {
            return seen.servers.clone();
        }
        let stamps = [stamp(&self.resolv_conf), stamp(&self.systemd)];
        if seen.looked.is_none() || seen.stamps != stamps {
            let host = std::fs::read_to_string(&self.resolv_conf).unwrap_or_default();
            let systemd = std::fs::read_to_string(&self.systemd).ok();
            seen.servers = choose(&host, systemd.as_deref(), &self.own);
            seen.stamps = stamps;
            tracing::info!(servers = ?seen.servers, "names of the world are asked of these resolvers");
        }
        seen.looked = Some(Instant::now());
        seen.servers.clone()
    }
}

fn stamp(path: &Path) -> Stamp {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.dev(), meta.ino(), meta.size(), meta.ctime(), meta.ctime_nsec()))
}

/// The resolvers that `host`, the text of a resolv.conf, means: never our `own` addresses, and instead of systemd's stub
/// those behind it, if its file is there.
pub fn choose(host: &str, systemd: Option<&str>, own: &[IpAddr]) -> Vec<SocketAddr> {
    let behind_stub = systemd.map(nameservers).filter(|servers| !servers.is_empty());
    let mut chosen: Vec<SocketAddr> = Vec::new();
    for server in nameservers(host) {
        let meant = match &behind_stub {
            Some(servers) if server == SYSTEMD_STUB => servers.clone(),
            _ => vec![server],
        };
        for address in meant.into_iter().filter(|a| !own.contains(a)).map(|a| SocketAddr::new(a, PORT)) {
            if !chosen.contains(&address) {
                chosen.push(address);
            }
        }
    }
    chosen
}

/// The addresses of a resolv.conf. Link-local ones with a zone (`fe80::1%eth0`) are skipped: they need an interface.
fn nameservers(text: &str) -> Vec<IpAddr> {
    let address = |line: &str| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()?.parse().ok()).flatten()
    };
    text.lines().filter_map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_are_chosen_from_the_text() {
        let own = [IpAddr::from([10, 210, 1, 1])];
        let cases: [(&str, Option<&str>, &[&str]); 7] = [
            ("", None, &[]),
            (
                "# nameserver 192.0.2.9\nnameserver 192.0.2.1 # first\n\tnameserver  2001:db8::1\n",
                None,
                &["192.0.2.1:53", "[2001:db8::1]:53"],
            ),
            ("nameserver 10.210.1.1\nnameserver 192.0.2.1\nnameserver 192.0.2.1", None, &["192.0.2.1:53"]),
            ("nameserver 127.0.0.53", Some("nameserver 192.0.2.1\nnameserver 10.210.1.1"), &["192.0.2.1:53"]),
            ("nameserver 127.0.0.53", None, &["127.0.0.53:53"]),
            ("nameserver 192.0.2.1", Some("nameserver 192.0.2.2"), &["192.0.2.1:53"]),
            ("nameserver\nnameserver x\nnameserver fe80::1%eth0\nsearch example.com\nnameserver127.0.0.1", None, &[]),
        ];
        for (host, systemd, expected) in cases {
            let expected: Vec<SocketAddr> = expected.iter().map(|a| a.parse().expect("an address")).collect();
            assert_eq!(choose(host, systemd, &own), expected, "{host:?} {systemd:?}");
        }
    }

    #[test]
    fn a_changed_file_is_read_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("resolv.conf");
        let resolvers = HostResolvers::at(path.clone(), dir.path().join("absent"), Vec::new(), Duration::ZERO);
        assert_eq!(resolvers.current(), [], "no file, no resolver");
        std::fs::write(&path, "nameserver 192.0.2.1\n").expect("writes");
        assert_eq!(resolvers.current(), ["192.0.2.1:53".parse().expect("an address")]);
        std::fs::write(&path, "nameserver 192.0.2.10\n").expect("writes");
        assert_eq!(resolvers.current(), ["192.0.2.10:53".parse().expect("an address")]);
    }
}
