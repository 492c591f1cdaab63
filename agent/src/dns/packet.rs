//! From the bytes of a query to the bytes of its reply.
//!
//! Pure; never touches a socket. `server` and `tcp` call `respond` for every packet, `upstream` reads questions with it.

use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, OpCode, ResponseCode};
use hickory_proto::rr::{DNSClass, Record, RecordType};
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder, NameEncoding};

use super::answer::Answer;
use super::fast;
use super::zone::Zone;

/// Bytes of a DNS header.
pub const HEADER_BYTES: usize = 12;
/// Bytes a reply over UDP may have when the query has no EDNS (RFC 1035 section 4.2.1).
pub const UDP_PLAIN_MAX_BYTES: usize = 512;
/// Bytes a reply over UDP may have at all: what passes every path unfragmented (DNS flag day 2020).
pub const UDP_MAX_BYTES: usize = 1_232;
/// Bytes a relayed reply over UDP may have at all: the size that resolvers offer by habit.
pub const UDP_RELAYED_MAX_BYTES: usize = 4_096;
/// Bytes of a name at most, its last zero included.
const NAME_MAX_BYTES: usize = 255;
/// Bytes of an OPT record without options.
const OPT_BYTES: usize = 11;
/// The highest EDNS version there is.
const EDNS_VERSION: u8 = 0;

/// How a query came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// As a datagram: replies are small.
    Udp,
    /// Over a connection.
    Tcp,
}

/// What to do with a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing: it is no query.
    Drop,
    /// Send what was written.
    Reply,
    /// Ask the host's resolvers; a reply over UDP may have so many bytes.
    Forward {
        /// Bytes.
        limit: usize,
    },
}

/// Judges `packet` from `client` and writes the reply into `out`, which it clears first.
pub fn respond(
    zone: &Zone,
    client: Option<IpAddr>,
    packet: &[u8],
    transport: Transport,
    seed: u32,
    out: &mut Vec<u8>,
) -> Step {
    out.clear();
    if fast::respond(zone, client, packet, transport, seed, out) {
        return Step::Reply;
    }
    respond_generally(zone, client, packet, transport, seed, out)
}

pub(super) fn respond_generally(
    zone: &Zone,
    client: Option<IpAddr>,
    packet: &[u8],
    transport: Transport,
    seed: u32,
    out: &mut Vec<u8>,
) -> Step {
    out.clear();
    let Some(header) = packet.first_chunk::<HEADER_BYTES>() else { return Step::Drop };
    if header[2] & 0x80 != 0 {
        return Step::Drop; // A response: answering it could start an endless exchange between two servers.
    }
    if header[2] >> 3 & 0x0f != u8::from(OpCode::Query) {
        return bare(packet, ResponseCode::NotImp, out);
    }
    let one_question = header[4..10] == [0, 1, 0, 0, 0, 0];
    let Some(query) = Some(packet).filter(|_| one_question).and_then(|p| Message::from_vec(p).ok()) else {
        return bare(packet, ResponseCode::FormErr, out);
    };
    let [question] = query.queries.as_slice() else { return bare(packet, ResponseCode::FormErr, out) };
    let limit = limit(transport, query.edns.as_ref().map(Edns::max_payload));
    if query.edns.as_ref().is_some_and(|edns| edns.version() > EDNS_VERSION) {
        return encode(&query, ResponseCode::BADVERS, None, limit, out);
    }
    let transfer = matches!(question.query_type, RecordType::AXFR | RecordType::IXFR);
    if question.query_class != DNSClass::IN || transfer {
        return encode(&query, ResponseCode::Refused, None, limit, out);
    }
    match zone.answer(client, question, seed) {
        Some(answer) => encode(&query, answer.rcode, Some(answer), limit, out),
        None => Step::Forward { limit: forward_limit(transport, query.edns.as_ref().map(Edns::max_payload)) },
    }
}

/// Bytes a reply may have, given the size that the query's EDNS offers.
pub(super) fn limit(transport: Transport, offered: Option<u16>) -> usize {
    match (transport, offered) {
        (Transport::Tcp, _) => usize::from(u16::MAX),
        (Transport::Udp, None) => UDP_PLAIN_MAX_BYTES,
        (Transport::Udp, Some(size)) => usize::from(size).clamp(UDP_PLAIN_MAX_BYTES, UDP_MAX_BYTES),
    }
}

/// Bytes a relayed reply may have: what the client offers, since the resolver's answer is not ours to shorten.
fn forward_limit(transport: Transport, offered: Option<u16>) -> usize {
    match (transport, offered) {
        (Transport::Udp, Some(size)) => usize::from(size).clamp(UDP_PLAIN_MAX_BYTES, UDP_RELAYED_MAX_BYTES),
        _ => limit(transport, offered),
    }
}

/// Writes a reply; what does not fit is left out and the reply marked as truncated.
fn encode(query: &Message, rcode: ResponseCode, answer: Option<Answer>, limit: usize, out: &mut Vec<u8>) -> Step {
    let mut reply = Message::response(query.metadata.id, OpCode::Query);
    reply.metadata.recursion_desired = query.metadata.recursion_desired;
    reply.metadata.checking_disabled = query.metadata.checking_disabled;
    reply.metadata.recursion_available = true;
    reply.metadata.authoritative = answer.is_some();
    reply.metadata.response_code = ResponseCode::from(0, rcode.low());
    reply.queries = query.queries.clone();
    if let Some(answer) = answer {
        reply.answers = answer.records;
        reply.authorities.extend(answer.soa);
        reply.additionals = answer.additional;
    }
    // The OPT record is written by hand, so that truncation cannot take it away.
    let reserved = if query.edns.is_some() { OPT_BYTES } else { 0 };
    let mut encoder = BinEncoder::new(out);
    encoder.set_max_size(u16::try_from(limit - reserved).unwrap_or(u16::MAX));
    if reply.emit(&mut encoder).is_err() {
        return Step::Drop; // A question longer than 512 bytes does not exist; there is nothing to say to it.
    }
    encoder.trim(); // What was begun and did not fit is still in the buffer.
    if let Some(edns) = &query.edns {
        push_opt(out, rcode.high(), edns.flags().dnssec_ok);
    }
    Step::Reply
}

/// Appends an OPT record to a finished reply and counts it.
pub(super) fn push_opt(out: &mut Vec<u8>, rcode_high: u8, dnssec_ok: bool) {
    let [size_high, size_low] = (UDP_MAX_BYTES as u16).to_be_bytes();
    let flags = if dnssec_ok { 0x80 } else { 0 };
    out.extend_from_slice(&[0, 0, 41, size_high, size_low, rcode_high, EDNS_VERSION, flags, 0, 0, 0]);
    let additional = u16::from_be_bytes([out[10], out[11]]).saturating_add(1);
    out[10..HEADER_BYTES].copy_from_slice(&additional.to_be_bytes());
}

/// A reply without records to a query that cannot be understood. It repeats the question if there is one to be read.
fn bare(packet: &[u8], rcode: ResponseCode, out: &mut Vec<u8>) -> Step {
    if failure(packet, rcode, out) { Step::Reply } else { Step::Drop }
}

/// Writes a reply without records to `packet`; false when that is not even a header. Stub resolvers discard a reply
/// that does not repeat their question.
pub(super) fn failure(packet: &[u8], rcode: ResponseCode, out: &mut Vec<u8>) -> bool {
    let Some(header) = packet.first_chunk::<HEADER_BYTES>() else { return false };
    let question = if header[4..6] == [0, 1] { question(packet) } else { None };
    out.clear();
    out.extend_from_slice(&header[..2]);
    out.extend_from_slice(&[0x80 | header[2] & 0x79, 0x80 | header[3] & 0x10 | rcode.low()]);
    out.extend_from_slice(&[0, u8::from(question.is_some()), 0, 0, 0, 0, 0, 0]);
    out.extend_from_slice(question.unwrap_or_default());
    true
}

/// The bytes of the first question: its name, without compression, its type and its class. A name of more than 255 bytes
/// is none (RFC 1035 section 2.3.4): repeating it could make a reply longer than may go over UDP.
pub(super) fn question(packet: &[u8]) -> Option<&[u8]> {
    let mut at = HEADER_BYTES;
    loop {
        if at >= HEADER_BYTES + NAME_MAX_BYTES {
            return None;
        }
        match *packet.get(at)? {
            0 => return packet.get(HEADER_BYTES..at + 5),
            length @ 1..=63 => at += 1 + usize::from(length),
            _ => return None,
        }
    }
}

/// A record as it goes over the wire, its names not compressed.
pub(super) fn record_bytes(record: &Record) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = BinEncoder::new(&mut bytes);
    encoder.set_name_encoding(NameEncoding::Uncompressed);
    match record.emit(&mut encoder) {
        Ok(()) => bytes,
        Err(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
