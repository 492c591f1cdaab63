//! The `/etc/resolv.conf` that containers see.
//!
//! Pure text; whoever creates containers writes it to a file and mounts it read-only.

use std::net::IpAddr;

use proto::id::ProjectName;

use super::SERVICE_DOMAIN;

/// The file for containers of `project` on the node whose resolver is at `gateway`.
///
/// `ndots:1`, which is also every resolver's default, is written out because images may be used to something else. With
/// it `web`, `web.PROJECT` and `1.web` work for all of them, each in its own way:
/// - a name without a dot (`web`) is tried with the search domains by glibc, musl and Go alike; the first is the
///   project's, so that one question is enough;
/// - a name with a dot (`web.PROJECT`, `1.web`, and every name of the world) is tried as written first by glibc and Go,
///   and *only* as written by musl and busybox. Our server answers these short forms as they stand, so nobody needs the
///   search list for them. With a larger `ndots` each name of the world would cost two useless questions before the
///   right one, times two for AAAA, and `example.com` could be taken for a service of a project called `com`.
///
/// The search domains of the host are left out: they would send our names' typing mistakes to foreign servers, and make
/// an answer depend on the host.
pub fn resolv_conf(gateway: IpAddr, project: &ProjectName) -> String {
    format!("nameserver {gateway}\nsearch {project}.{SERVICE_DOMAIN} {SERVICE_DOMAIN}\noptions ndots:1\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_names_the_node_and_the_project_first() {
        let text = resolv_conf(IpAddr::from([10, 210, 3, 1]), &"shop".parse().expect("a name"));
        let expected = "nameserver 10.210.3.1\nsearch shop.svc.cluster.local svc.cluster.local\noptions ndots:1\n";
        assert_eq!(text, expected);
    }
}
