//! What each form of a name answers, as text in and text out.

use std::collections::{BTreeMap, BTreeSet};

use hickory_proto::op::Query;
use hickory_proto::rr::{Name, RData, RecordType};
use proptest::prelude::*;
use proto::endpoint::EndpointState::{self, Draining, Ready, Starting};
use proto::id::{NodeId, TaskId};

use super::*;
use crate::dns::fixture::{ip, key, service_of, table, zone, zone_of};

/// `NOERROR a b`, records sorted; `NODATA`, `NXDOMAIN` or `forward`.
fn ask(zone: &Zone, client: &str, name: &str, rtype: RecordType) -> String {
    let question = Query::query(Name::from_ascii(name).expect("a name"), rtype);
    let client = (!client.is_empty()).then(|| ip(client));
    let Some(answer) = zone.answer(client, &question, 0) else { return "forward".to_owned() };
    if answer.records.is_empty() {
        let soa = answer.soa.expect("a negative answer carries SOA");
        let RData::SOA(data) = &soa.data else { panic!("{soa}") };
        assert_eq!((soa.ttl, data.minimum, data.serial), (1, 1, 7), "{name}");
        assert_eq!(soa.name.to_string(), "cluster.local.");
        assert!(answer.additional.is_empty());
        return if answer.rcode == ResponseCode::NXDomain { "NXDOMAIN" } else { "NODATA" }.to_owned();
    }
    assert_eq!((answer.rcode, &answer.soa), (ResponseCode::NoError, &None), "{name}");
    for record in &answer.records {
        assert_eq!((record.ttl, &record.name), (1, &question.name));
    }
    let mut texts: Vec<String> = answer.records.iter().map(|r| r.data.to_string()).collect();
    texts.sort();
    texts.extend(answer.additional.iter().map(|r| format!("+{} {}", r.name, r.data)));
    texts.join(" ")
}

use hickory_proto::op::ResponseCode;

const SHOP: &str = "10.210.1.1";
const BLOG: &str = "10.210.2.9";
const STRANGER: &str = "192.0.2.1";

#[test]
fn every_form_of_a_name() {
    use RecordType::{A, AAAA, ANY, MX, PTR, SOA, SRV, TXT};
    let zone = zone();
    let cases = [
        // Services: ready endpoints only.
        (STRANGER, "web.shop.svc.cluster.local.", A, "10.210.1.1 10.210.1.2"),
        (STRANGER, "WEB.Shop.SVC.Cluster.LOCAL.", A, "10.210.1.1 10.210.1.2"),
        ("", "web.shop.", A, "10.210.1.1 10.210.1.2"),
        (SHOP, "web.", A, "10.210.1.1 10.210.1.2"),
        (SHOP, "WeB.", A, "10.210.1.1 10.210.1.2"),
        (BLOG, "web.", A, "10.210.2.9"),
        ("fd00::9", "web.", A, "10.210.2.9"),
        (BLOG, "web.shop.", A, "10.210.1.1 10.210.1.2"),
        ("10.210.1.4", "web.", A, "10.210.1.1 10.210.1.2"), // A draining client is still a client.
        (STRANGER, "web.", A, "forward"),
        ("", "web.", A, "forward"),
        (SHOP, "my_db.", A, "10.210.1.7"),
        (BLOG, "web.", AAAA, "fd00::9"),
        (BLOG, "web.", ANY, "10.210.2.9 fd00::9"),
        // Known, but nothing of that kind: never NXDOMAIN.
        (SHOP, "web.", AAAA, "NODATA"),
        (SHOP, "web.", MX, "NODATA"),
        (SHOP, "web.", SRV, "NODATA"),
        (SHOP, "idle.", A, "NODATA"),
        ("", "idle.shop.svc.cluster.local.", A, "NODATA"),
        ("", "idle.shop.svc.cluster.local.", TXT, "NODATA"),
        // Slots: unready ones too, draining ones not.
        (SHOP, "1.web.", A, "10.210.1.1"),
        (SHOP, "3.web.", A, "10.210.1.3"),
        (SHOP, "4.web.", A, "NODATA"),
        (SHOP, "99.web.", A, "NODATA"),
        (SHOP, "1.web.", AAAA, "NODATA"),
        ("", "3.web.shop.", A, "10.210.1.3"),
        ("", "3.web.shop.svc.cluster.local.", A, "10.210.1.3"),
        (SHOP, "1.my_db.", A, "10.210.1.6"),
        (SHOP, "2.my_db.", A, "10.210.1.7"),
        // `1.web` is the client's slot before it is a service called `1` of a project called `web`.
        (STRANGER, "1.web.", A, "10.210.2.10"),
        ("", "1.web.svc.cluster.local.", A, "10.210.2.10"),
        ("", "0.web.shop.svc.cluster.local.", A, "NXDOMAIN"),
        ("", "01.web.shop.svc.cluster.local.", A, "NXDOMAIN"),
        ("", "4294967296.web.shop.svc.cluster.local.", A, "NXDOMAIN"),
        ("", "x.web.shop.svc.cluster.local.", A, "NXDOMAIN"),
        ("", "1.1.web.shop.svc.cluster.local.", A, "NXDOMAIN"),
        // SRV, by name and by number.
        (
            "",
            "_http._tcp.web.shop.svc.cluster.local.",
            SRV,
            "0 0 80 1.web.shop.svc.cluster.local. 0 0 80 2.web.shop.svc.cluster.local. \
             +1.web.shop.svc.cluster.local. 10.210.1.1 +2.web.shop.svc.cluster.local. 10.210.1.2",
        ),
        (
            BLOG,
            "_80._TCP.web.",
            SRV,
            "0 0 80 1.web.blog.svc.cluster.local. +1.web.blog.svc.cluster.local. 10.210.2.9 \
             +1.web.blog.svc.cluster.local. fd00::9",
        ),
        (
            BLOG,
            "_53._udp.web.blog.",
            SRV,
            "0 0 53 1.web.blog.svc.cluster.local. +1.web.blog.svc.cluster.local. \
             10.210.2.9 +1.web.blog.svc.cluster.local. fd00::9",
        ),
        ("", "_http._tcp.web.shop.svc.cluster.local.", A, "NODATA"),
        ("", "_http._udp.web.shop.svc.cluster.local.", SRV, "NXDOMAIN"),
        ("", "_none._tcp.web.shop.svc.cluster.local.", SRV, "NXDOMAIN"),
        ("", "http._tcp.web.shop.svc.cluster.local.", SRV, "NXDOMAIN"),
        ("", "_tcp.web.shop.svc.cluster.local.", SRV, "NODATA"),
        ("", "_tcp.idle.shop.svc.cluster.local.", SRV, "NXDOMAIN"),
        // Reverse names.
        ("", "1.1.210.10.in-addr.arpa.", PTR, "1.web.shop.svc.cluster.local."),
        ("", "1.1.210.10.IN-ADDR.ARPA.", PTR, "1.web.shop.svc.cluster.local."),
        ("", "4.1.210.10.in-addr.arpa.", PTR, "4.web.shop.svc.cluster.local."),
        ("", "1.1.210.10.in-addr.arpa.", A, "NODATA"),
        ("", "200.1.210.10.in-addr.arpa.", PTR, "forward"),
        ("", "256.1.210.10.in-addr.arpa.", PTR, "forward"),
        ("", "1.210.10.in-addr.arpa.", PTR, "forward"),
        ("", "in-addr.arpa.", PTR, "forward"),
        (
            "",
            "9.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa.",
            PTR,
            "1.web.blog.svc.cluster.local.",
        ),
        // What is ours and means nothing; what lies between.
        ("", "nothing.shop.svc.cluster.local.", A, "NXDOMAIN"),
        ("", "web.nowhere.svc.cluster.local.", A, "NXDOMAIN"),
        ("", "web.shop.cluster.local.", A, "NXDOMAIN"),
        ("", "example.com.svc.cluster.local.", A, "NXDOMAIN"),
        (SHOP, "nothing.cluster.local.", A, "NXDOMAIN"),
        ("", "nowhere.svc.cluster.local.", A, "NXDOMAIN"),
        ("", "shop.svc.cluster.local.", A, "NODATA"),
        ("", "svc.cluster.local.", A, "NODATA"),
        ("", "cluster.local.", A, "NODATA"),
        ("", "cluster.local.", SOA, "ns.cluster.local. hostmaster.cluster.local. 7 3600 600 86400 1"),
        // The host itself, and the world.
        (STRANGER, "localhost.", A, "127.0.0.1"),
        ("", "localhost.", AAAA, "::1"),
        ("", "db.localhost.", A, "127.0.0.1"),
        ("", "localhost.", MX, "NODATA"),
        (SHOP, "nothing.", A, "forward"),
        (SHOP, "shop.", A, "forward"),
        (SHOP, "example.com.", A, "forward"),
        (SHOP, "nothing.shop.", A, "forward"),
        (SHOP, "local.", A, "forward"),
        (SHOP, "xcluster.local.", A, "forward"),
        (SHOP, ".", A, "forward"),
    ];
    for (client, name, rtype, expected) in cases {
        assert_eq!(ask(&zone, client, name, rtype), expected, "{client} asks {rtype} of {name}");
    }
}

#[test]
fn the_newer_view_of_a_nodes_own_task_counts() {
    let own = |state, incarnation, sequence| Some(OwnEndpoint { state, incarnation, sequence });
    // The table says (1, 10).
    let cases: [(EndpointState, Option<OwnEndpoint>, bool, u64, &str); 11] = [
        (Ready, None, false, 1, "10.210.1.1"),
        (Ready, None, true, 1, "NODATA"),
        (Ready, None, true, 2, "10.210.1.1"),
        (Ready, own(Starting, 1, 10), false, 1, "NODATA"),
        (Ready, own(Starting, 1, 11), false, 1, "NODATA"),
        (Ready, own(Starting, 1, 9), false, 1, "10.210.1.1"),
        (Ready, own(Draining, 2, 1), false, 1, "NODATA"),
        (Ready, own(Starting, 0, 99), false, 1, "10.210.1.1"),
        (Starting, own(Ready, 2, 0), false, 1, "10.210.1.1"),
        (Draining, own(Ready, 1, 9), false, 1, "NODATA"),
        (Ready, own(Starting, 9, 9), false, 2, "10.210.1.1"),
    ];
    for (in_table, seen, stopped, node, expected) in cases {
        let mut table = service_of("shop/web", &[("10.210.1.1", in_table)]);
        table.revision.0 = 7;
        let own = OwnView {
            endpoints: seen.map(|seen| (TaskId(1), seen)).into_iter().collect::<BTreeMap<_, _>>(),
            stopped: if stopped { BTreeSet::from([TaskId(1)]) } else { BTreeSet::new() },
        };
        let zone = Zone::new(&table, NodeId(node), &own);
        let case = format!("{in_table:?} in the table, {seen:?} stopped {stopped} on node {node}");
        assert_eq!(ask(&zone, "", "web.shop.svc.cluster.local.", RecordType::A), expected, "{case}");
    }
}

#[test]
fn a_task_known_to_be_stopped_has_no_name_at_all() {
    let own = OwnView { stopped: BTreeSet::from([TaskId(1)]), ..OwnView::default() };
    let zone = Zone::new(&table(), NodeId(1), &own);
    assert_eq!(ask(&zone, "", "1.web.shop.svc.cluster.local.", RecordType::A), "NODATA");
    assert_eq!(ask(&zone, "", "1.1.210.10.in-addr.arpa.", RecordType::PTR), "forward");
    assert_eq!(ask(&zone, "", "web.shop.", RecordType::A), "10.210.1.2");
}

#[test]
fn each_answer_begins_with_another_endpoint() {
    let zone = zone();
    let question = Query::query(Name::from_ascii("web.shop.").expect("a name"), RecordType::A);
    let first = |seed| zone.answer(None, &question, seed).expect("ours").records[0].data.to_string();
    assert_eq!(
        [first(0), first(1), first(2), first(u32::MAX)],
        ["10.210.1.1", "10.210.1.2", "10.210.1.1", "10.210.1.2"]
    );
}

#[test]
fn a_huge_service_shows_another_part_of_itself_each_time() {
    let addresses: Vec<String> = (0..2_500).map(|i| format!("10.210.{}.{}", i / 250, i % 250)).collect();
    let endpoints: Vec<_> = addresses.iter().map(|a| (a.as_str(), Ready)).collect();
    let zone = zone_of(&service_of("shop/web", &endpoints));
    let question = Query::query(Name::from_ascii("web.shop.").expect("a name"), RecordType::A);
    let mut seen = BTreeSet::new();
    for seed in [0, 1_000, 2_000] {
        let answer = zone.answer(None, &question, seed).expect("ours");
        assert_eq!(answer.records.len(), 1_000);
        seen.extend(answer.records.iter().map(|r| r.data.to_string()));
    }
    assert_eq!(seen.len(), 2_500);
}

#[test]
fn the_forwarder_gets_one_address_of_each_ready_endpoint_and_their_states() {
    let zone = zone();
    let web = zone.service(&key("shop/web")).expect("known");
    assert_eq!(web.targets(), [ip("10.210.1.1"), ip("10.210.1.2")]);
    assert_eq!(web.state_at(ip("10.210.1.4")), Some(Draining));
    assert_eq!(web.state_at(ip("10.210.1.9")), None);
    assert_eq!(zone.service(&key("blog/web")).expect("known").targets(), [ip("10.210.2.9")]);
    assert!(zone.service(&key("shop/none")).is_none());
}

proptest! {
    #[test]
    fn no_labels_panic(labels in proptest::collection::vec(
        prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..8),
            prop_oneof![
                Just(b"web".to_vec()), Just(b"shop".to_vec()), Just(b"svc".to_vec()), Just(b"cluster".to_vec()),
                Just(b"local".to_vec()), Just(b"1".to_vec()), Just(b"_tcp".to_vec()), Just(b"_http".to_vec()),
                Just(b"in-addr".to_vec()), Just(b"ip6".to_vec()), Just(b"arpa".to_vec()),
            ],
        ],
        0..9,
    )) {
        let labels: Vec<&[u8]> = labels.iter().map(Vec::as_slice).collect();
        let zone = zone();
        zone.find(&labels, None);
        let found = zone.find(&labels, Some(ip(SHOP)));
        let inside = labels.ends_with(&[b"cluster", b"local"]);
        prop_assert!(!(inside && matches!(found, Found::Outside)), "ours never leaves the node");
    }
}

#[test]
fn a_service_answers_to_its_aliases_in_its_own_project() {
    let mut table = service_of("shop/web", &[("10.210.1.1", Ready), ("10.210.1.2", Starting)]);
    let mut other = service_of("shop/db", &[("10.210.1.3", Ready)]);
    table.services.append(&mut other.services);
    let aliases = ["www", "mail.example.com", "db"].map(str::to_owned);
    table.services.get_mut(&key("shop/web")).expect("there").aliases = aliases.into();
    let zone = zone_of(&table);
    let client = "10.210.1.3".parse().ok();
    let ready = |name: &str, client| {
        let labels: Vec<&[u8]> = name.split('.').map(str::as_bytes).collect();
        match zone.find(&labels, client) {
            Found::Service(service) => format!("{:?}", service.ready().v4),
            other => format!("{other:?}").split(['(', ' ']).next().unwrap_or_default().to_owned(),
        }
    };
    for name in
        ["www", "www.shop", "www.shop.svc.cluster.local", "mail.example.com", "mail.example.com.shop.svc.cluster.local"]
    {
        assert_eq!(ready(name, client), "[10.210.1.1]", "{name}");
    }
    assert_eq!(ready("db", client), "[10.210.1.3]", "a service's own name comes before an alias");
    assert_eq!(ready("mail.example.com", None), "Outside", "only its own project knows it by the short name");
    assert_eq!(ready("example.com", client), "Outside");
    assert_eq!(ready("1.www", client), "Slot");
}
