//! All that one cluster has on this machine, each with its kind in front: what must be gone after `ctl dev down --volumes`.
//!
//! Looks at the engine and the kernel from outside; asks Wherry nothing. Called by `dev` and the tests.

use std::path::Path;
use std::process::Command;

use super::engine::docker;

/// Containers, networks and volumes of the cluster, its interface and routes, its listeners on the gateway, and mounts,
/// sockets and files under `state`. `gateway` is the address of its resolver.
pub fn of(cluster: &str, gateway: &str, state: &Path) -> Vec<String> {
    let mut found = labelled(cluster);
    let kernel = kernel(cluster, gateway);
    found.extend(kernel);
    found.extend(below(state));
    found.sort();
    found
}

/// What the engine keeps of a cluster.
pub fn labelled(cluster: &str) -> Vec<String> {
    let label = format!("label=wherry.cluster={cluster}");
    let mut found = Vec::new();
    for (kind, list) in [
        ("container", vec!["ps", "--all", "--format", "{{.Names}}"]),
        ("network", vec!["network", "ls", "--format", "{{.Name}}"]),
        ("volume", vec!["volume", "ls", "--format", "{{.Name}}"]),
    ] {
        let mut arguments = list;
        arguments.extend(["--filter", &label]);
        found.extend(docker(&arguments).lines().map(|name| format!("{kind} {name}")));
    }
    found
}

fn kernel(cluster: &str, gateway: &str) -> Vec<String> {
    let mut found = Vec::new();
    let bridge = format!("wh-{}", &cluster[..6]);
    if Path::new("/sys/class/net").join(&bridge).exists() {
        found.push(format!("interface {bridge}"));
    }
    let (network, _) = gateway.rsplit_once('.').expect("an IPv4 address");
    let in_subnet = |line: &&str| line.contains(&format!("{network}."));
    let lines = |kind: &str, program: &str, arguments: &[&str]| -> Vec<String> {
        let output = Command::new(program).args(arguments).output();
        let text = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
        text.lines().filter(in_subnet).map(|line| format!("{kind} {line}")).collect()
    };
    let own = |line: &String| line.contains(&bridge);
    found.extend(lines("rule", "iptables-save", &[]).into_iter().filter(own));
    found.extend(routes(network).into_iter().filter(own));
    if !is_taken_by_another(&bridge, gateway) {
        found.extend(["/proc/net/udp", "/proc/net/tcp"].iter().flat_map(|table| listeners(table, gateway)));
    }
    found
}

/// A range is free again at once: a cluster of another test may have it already, and listen there.
fn is_taken_by_another(bridge: &str, gateway: &str) -> bool {
    let output = Command::new("ip").args(["-4", "-oneline", "address"]).output();
    let text = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    text.lines().any(|line| line.contains(&format!(" {gateway}/")) && !line.contains(bridge))
}

/// Lines of the kernel's route table that lead into `network`, `10.210.0`.
fn routes(network: &str) -> Vec<String> {
    let table = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
    let wanted = format!("00{}", hexadecimal(network));
    let routes = table.lines().skip(1).filter(|line| line.split_whitespace().nth(1) == Some(wanted.as_str()));
    routes.map(|line| format!("route {}", line.split_whitespace().next().unwrap_or(""))).collect()
}

/// Sockets that listen on the gateway, in the table's own words; connections that have just ended do not count.
fn listeners(table: &str, gateway: &str) -> Vec<String> {
    let text = std::fs::read_to_string(table).unwrap_or_default();
    let wanted = format!("{}:", hexadecimal(gateway));
    let locals = text.lines().skip(1).filter_map(|line| {
        let mut columns = line.split_whitespace();
        let (local, state) = (columns.nth(1)?, columns.nth(1)?);
        // Listening, and for UDP: without a peer.
        matches!(state, "0A" | "07").then_some(local)
    });
    locals.filter(|local| local.starts_with(&wanted)).map(|local| format!("listener {table} {local}")).collect()
}

/// An address as the kernel writes it: its bytes backwards, `10.210.0.1` is `0100D20A`.
fn hexadecimal(address: &str) -> String {
    let bytes = address.split('.').rev().map(|part| part.parse::<u8>().expect("a byte"));
    bytes.map(|byte| format!("{byte:02X}")).collect()
}

/// Mounts, sockets and files of a state directory.
fn below(state: &Path) -> Vec<String> {
    let prefix = state.display().to_string();
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let mut found = Vec::new();
    let mounts = read("/proc/self/mountinfo");
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4)).filter(|point| point.starts_with(&prefix));
    found.extend(points.map(|point| format!("mount {point}")));
    let sockets = read("/proc/net/unix");
    let paths = sockets.lines().filter_map(|line| line.split_whitespace().nth(7)).filter(|p| p.starts_with(&prefix));
    found.extend(paths.map(|path| format!("socket {path}")));
    for entry in std::fs::read_dir(state.join("wherry")).into_iter().flatten().flatten() {
        found.push(format!("file {}", entry.path().display()));
    }
    found
}

#[cfg(test)]
mod tests {
    #[test]
    fn addresses_are_written_as_the_kernel_does() {
        assert_eq!(super::hexadecimal("10.210.0.1"), "0100D20A");
        assert_eq!(super::hexadecimal("10.210.0"), "00D20A");
    }
}
