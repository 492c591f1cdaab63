//! The short way for what is asked most: A and AAAA of a service or a slot, answered without decoding a message.
//!
//! Says what `packet` would say, byte for byte after decoding (a property test holds it to that), or leaves the query
//! alone: anything unusual, anything that does not fit. Called by `packet::respond` only.

use std::net::IpAddr;

use proto::limits::DNS_TTL_S;

use super::answer::rotated;
use super::packet::{HEADER_BYTES, Transport, limit, push_opt};
use super::zone::{Addresses, Found, Zone};

/// Labels of the longest name looked at here: `_port._proto.service.project.svc.cluster.local` has seven.
const LABELS_MAX: usize = 8;
/// Bytes of a name, RFC 1035 section 2.3.4.
const NAME_MAX_BYTES: usize = 255;
const TYPE_A: [u8; 2] = [0, 1];
const TYPE_AAAA: [u8; 2] = [0, 28];
const CLASS_IN: [u8; 2] = [0, 1];

/// Writes the reply and says true, or leaves the query to the general way.
pub(super) fn respond(
    zone: &Zone,
    client: Option<IpAddr>,
    packet: &[u8],
    transport: Transport,
    seed: u32,
    out: &mut Vec<u8>,
) -> bool {
    try_respond(zone, client, packet, transport, seed, out).is_some()
}

fn try_respond(
    zone: &Zone,
    client: Option<IpAddr>,
    packet: &[u8],
    transport: Transport,
    seed: u32,
    out: &mut Vec<u8>,
) -> Option<()> {
    let header = packet.first_chunk::<HEADER_BYTES>()?;
    // A plain query (only "recursion desired" may be set) with one question and at most one additional record.
    if header[2] & 0xfe != 0 || header[4..11] != [0, 1, 0, 0, 0, 0, 0] || header[11] > 1 {
        return None;
    }
    let mut name = [0; NAME_MAX_BYTES];
    let mut labels: [&[u8]; LABELS_MAX] = [&[]; LABELS_MAX];
    let (count, question_end) = read_name(packet, &mut name, &mut labels)?;
    let (qtype, qclass) = packet.get(question_end - 4..question_end)?.split_at(2);
    if qclass != CLASS_IN || (qtype != TYPE_A && qtype != TYPE_AAAA) {
        return None;
    }
    let edns = read_edns(&packet[question_end..], header[11])?;
    let none = Addresses::default();
    let addresses = match zone.find(&labels[..count], client) {
        Found::Service(service) => service.ready(),
        Found::Slot(Some(slot)) => &slot.addresses,
        Found::Slot(None) => &none,
        _ => return None,
    };
    let answer = Reply { zone, limit: limit(transport, edns.map(|e| e.size)), seed };
    answer.write(&packet[..question_end], qtype == TYPE_A, addresses, edns, out)
}

struct Reply<'a> {
    zone: &'a Zone,
    limit: usize,
    seed: u32,
}

impl Reply<'_> {
    fn write(
        &self,
        query: &[u8],
        v4: bool,
        addresses: &Addresses,
        edns: Option<Offer>,
        out: &mut Vec<u8>,
    ) -> Option<()> {
        let (count, bytes) = match v4 {
            true => (addresses.v4.len(), 16),
            false => (addresses.v6.len(), 28),
        };
        let records = if count == 0 { self.zone.soa_wire().len() } else { count.checked_mul(bytes)? };
        if query.len() + records + if edns.is_some() { 11 } else { 0 } > self.limit {
            return None;
        }
        out.extend_from_slice(query);
        out[2] = 0x84 | query[2] & 0x01; // response, authoritative
        out[3] = 0x80 | query[3] & 0x10; // recursion available; "checking disabled" is repeated
        out[11] = 0;
        if count == 0 {
            out[9] = 1;
            out.extend_from_slice(self.zone.soa_wire());
        } else if v4 {
            rotated(&addresses.v4, self.seed).for_each(|a| push_address(out, TYPE_A, &a.octets()));
        } else {
            rotated(&addresses.v6, self.seed).for_each(|a| push_address(out, TYPE_AAAA, &a.octets()));
        }
        if let Some(offer) = edns {
            push_opt(out, 0, offer.dnssec_ok);
        }
        Some(())
    }
}

/// Appends one address of the name in the question and counts it.
fn push_address(out: &mut Vec<u8>, rtype: [u8; 2], address: &[u8]) {
    out.extend_from_slice(&[0xc0, HEADER_BYTES as u8, rtype[0], rtype[1], CLASS_IN[0], CLASS_IN[1]]);
    out.extend_from_slice(&DNS_TTL_S.to_be_bytes());
    out.extend_from_slice(&[0, address.len() as u8]);
    out.extend_from_slice(address);
    let answers = u16::from_be_bytes([out[6], out[7]]).wrapping_add(1);
    out[6..8].copy_from_slice(&answers.to_be_bytes());
}

/// Reads the name of the question in lower case; how many labels it has and where the question ends.
fn read_name<'a>(
    packet: &[u8],
    name: &'a mut [u8; NAME_MAX_BYTES],
    labels: &mut [&'a [u8]; LABELS_MAX],
) -> Option<(usize, usize)> {
    let end = packet[HEADER_BYTES..].iter().take(NAME_MAX_BYTES).position(|byte| *byte == 0)?;
    let wire = &packet[HEADER_BYTES..HEADER_BYTES + end];
    let lower = &mut name[..end];
    lower.copy_from_slice(wire);
    lower.make_ascii_lowercase();
    let mut rest: &'a [u8] = lower;
    let mut count = 0;
    while let Some((length, after)) = rest.split_first() {
        // A length is never changed by the lower case: letters begin at 65, lengths end at 63.
        if *length > 63 {
            return None;
        }
        let (label, after) = after.split_at_checked(usize::from(*length))?;
        *labels.get_mut(count)? = label;
        count += 1;
        rest = after;
    }
    Some((count, HEADER_BYTES + end + 5))
}

/// What the client's OPT record offers.
#[derive(Clone, Copy)]
struct Offer {
    size: u16,
    dnssec_ok: bool,
}

/// Reads what follows the question: nothing, or an OPT record of version 0 without options.
fn read_edns(rest: &[u8], additional: u8) -> Option<Option<Offer>> {
    match (additional, rest) {
        (0, []) => Some(None),
        (1, [0, 0, 41, high, low, _, 0, flags, _, 0, 0]) => {
            let size = u16::from_be_bytes([*high, *low]);
            Some(Some(Offer { size, dnssec_ok: flags & 0x80 != 0 }))
        }
        _ => None,
    }
}
