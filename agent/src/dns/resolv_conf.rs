//! The `/etc/resolv.conf` that containers see.
//!
//! Pure text; whoever creates containers writes it to a file and mounts it read-only.

use std::net::IpAddr;

use proto::id::ProjectName;
use proto::spec::Naming;

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
/// an answer depend on the host. Those of the manifest come after ours, and its options after `ndots:1`: of two, resolvers
/// take the last. Our resolver is the only one named, whatever the manifest says: some ask all at once and take whoever
/// is first, and then a service's name would be answered by a server that does not know it.
pub fn resolv_conf(gateway: IpAddr, project: &ProjectName, naming: &Naming) -> String {
    let ours = [format!("{project}.{SERVICE_DOMAIN}"), SERVICE_DOMAIN.to_owned()];
    let search: Vec<&str> = ours.iter().chain(&naming.search).map(String::as_str).collect();
    let options: Vec<&str> = ["ndots:1"].into_iter().chain(naming.options.iter().map(String::as_str)).collect();
    format!("nameserver {gateway}\nsearch {}\noptions {}\n", search.join(" "), options.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_names_the_node_and_the_project_first() {
        let (gateway, project) = (IpAddr::from([10, 210, 3, 1]), "shop".parse().expect("a name"));
        let text = resolv_conf(gateway, &project, &Naming::default());
        let expected = "nameserver 10.210.3.1\nsearch shop.svc.cluster.local svc.cluster.local\noptions ndots:1\n";
        assert_eq!(text, expected);
        let naming = Naming {
            servers: vec![IpAddr::from([192, 0, 2, 1])],
            search: vec!["example.com".to_owned()],
            options: vec!["timeout:3".to_owned(), "ndots:2".to_owned()],
            ..Naming::default()
        };
        let expected = "nameserver 10.210.3.1\nsearch shop.svc.cluster.local svc.cluster.local example.com\n\
                        options ndots:1 timeout:3 ndots:2\n";
        assert_eq!(resolv_conf(gateway, &project, &naming), expected, "ours first, and no other server");
    }
}
