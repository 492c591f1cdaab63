//! From a question to records: what a name found in the zone says for the type that was asked.
//!
//! Pure; never sees a packet. `packet` calls it for every question that the fast path leaves alone.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::op::{Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, PTR, SOA, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use proto::limits::DNS_TTL_S;

use super::zone::{Addresses, Found, Service, SlotName, Zone};

/// Records of one answer: what one message over TCP holds, with room for the rest. A larger service shows another part
/// of itself in each answer.
pub const ANSWER_RECORDS_MAX: usize = 1_000;

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// `NoError` or `NXDomain`.
    pub rcode: ResponseCode,
    /// Records of the type that was asked.
    pub records: Vec<Record>,
    /// Addresses of SRV targets.
    pub additional: Vec<Record>,
    /// With a negative answer: how long it may be remembered.
    pub soa: Option<Record>,
}

impl Zone {
    /// The answer to `question` for `client`; `None` when the name is not ours. `seed` turns the order of the records:
    /// a caller that counts it up spreads clients over endpoints.
    pub fn answer(&self, client: Option<IpAddr>, question: &Query, seed: u32) -> Option<Answer> {
        let lower = question.name.to_lowercase();
        let labels: Vec<&[u8]> = lower.iter().collect();
        let asked = Asked { name: &question.name, rtype: question.query_type, seed };
        let records = match self.find(&labels, client) {
            Found::Outside => return None,
            Found::Nothing => return Some(Answer::negative(ResponseCode::NXDomain, self.serial())),
            Found::Service(service) => asked.addresses(service.ready()),
            Found::Slot(slot) => slot.map(|slot| asked.addresses(&slot.addresses)).unwrap_or_default(),
            Found::Port(service, port) => return Some(asked.services(service, port, self.serial())),
            Found::Reverse(name) => asked.only(RecordType::PTR, RData::PTR(PTR(name.clone()))),
            Found::Localhost => {
                asked.addresses(&Addresses { v4: vec![Ipv4Addr::LOCALHOST], v6: vec![Ipv6Addr::LOCALHOST] })
            }
            Found::Apex => asked.only(RecordType::SOA, soa_record(self.serial()).data),
            Found::Exists => Vec::new(),
        };
        Some(Answer::of(records, Vec::new(), self.serial()))
    }
}

impl Answer {
    /// A name without such records is NODATA, never NXDOMAIN: resolvers take NXDOMAIN for "no such name, of any type".
    fn of(records: Vec<Record>, additional: Vec<Record>, serial: u32) -> Answer {
        if records.is_empty() {
            return Answer::negative(ResponseCode::NoError, serial);
        }
        Answer { rcode: ResponseCode::NoError, records, additional, soa: None }
    }

    fn negative(rcode: ResponseCode, serial: u32) -> Answer {
        Answer { rcode, records: Vec::new(), additional: Vec::new(), soa: Some(soa_record(serial)) }
    }
}

/// A question about to be answered.
struct Asked<'a> {
    name: &'a Name,
    rtype: RecordType,
    seed: u32,
}

impl Asked<'_> {
    fn wants(&self, rtype: RecordType) -> bool {
        self.rtype == rtype || self.rtype == RecordType::ANY
    }

    fn only(&self, rtype: RecordType, data: RData) -> Vec<Record> {
        if self.wants(rtype) { vec![self.record(data)] } else { Vec::new() }
    }

    /// The owner of a record is the name as it was asked, short or long, in the client's own letters.
    fn record(&self, data: RData) -> Record {
        Record::from_rdata(self.name.clone(), DNS_TTL_S, data)
    }

    fn addresses(&self, from: &Addresses) -> Vec<Record> {
        let mut records = Vec::new();
        if self.wants(RecordType::A) {
            records.extend(rotated(&from.v4, self.seed).map(|a| self.record(RData::A(A(*a)))));
        }
        if self.wants(RecordType::AAAA) {
            records.extend(rotated(&from.v6, self.seed).map(|a| self.record(RData::AAAA(AAAA(*a)))));
        }
        records
    }

    fn services(&self, service: &Service, port: u16, serial: u32) -> Answer {
        if !self.wants(RecordType::SRV) {
            return Answer::negative(ResponseCode::NoError, serial);
        }
        let slots: Vec<&SlotName> = service.ready_slots().flatten().collect();
        let (mut records, mut additional) = (Vec::new(), Vec::new());
        for slot in rotated(&slots, self.seed) {
            records.push(self.record(RData::SRV(SRV::new(0, 0, port, slot.name.clone()))));
            let add = |data| Record::from_rdata(slot.name.clone(), DNS_TTL_S, data);
            additional.extend(slot.addresses.v4.iter().map(|a| add(RData::A(A(*a)))));
            additional.extend(slot.addresses.v6.iter().map(|a| add(RData::AAAA(AAAA(*a)))));
        }
        Answer::of(records, additional, serial)
    }
}

/// At most `ANSWER_RECORDS_MAX` of the items, in their order, beginning with the `seed`-th.
pub(super) fn rotated<T>(items: &[T], seed: u32) -> impl ExactSizeIterator<Item = &T> {
    let start = if items.is_empty() { 0 } else { seed as usize % items.len() };
    let count = items.len().min(ANSWER_RECORDS_MAX);
    (0..count).map(move |i| {
        let at = start + i;
        &items[if at < items.len() { at } else { at - items.len() }]
    })
}

/// The SOA record of the zone. Its minimum is how long a negative answer is remembered (RFC 2308).
pub(super) fn soa_record(serial: u32) -> Record {
    let label = |first: &[u8]| -> Name {
        let labels = [first].into_iter().chain(super::ZONE_LABELS).filter(|l| !l.is_empty());
        Name::from_labels(labels).unwrap_or_default()
    };
    let soa = SOA::new(label(b"ns"), label(b"hostmaster"), serial, 3_600, 600, 86_400, DNS_TTL_S);
    Record::from_rdata(label(b""), DNS_TTL_S, RData::SOA(soa))
}
