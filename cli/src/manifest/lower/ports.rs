//! `ports` in all short and long forms, and `expose` (Compose Specification, section 05).
//!
//! Never looks for collisions: `across` does. Called by `service`.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use proto::spec::{ExposedPort, PortMode, PortSpec, Protocol};

use super::super::tree::{Mark, Scalar, Value, shorten};
use super::super::words::whole;
use super::context::{Context, Field, Fields};

/// Ports of one service after ranges are written out: a release must fit into a log entry.
const PORTS_PER_SERVICE_MAX: usize = 1000;
const SHORT_FORMS: &str = "write [[IP:]PUBLISHED:]TARGET[/udp], such as \"8080:80\"";

/// What a text in one of the forms says.
struct Text {
    host_ip: Option<IpAddr>,
    published: Option<RangeInclusive<u16>>,
    target: RangeInclusive<u16>,
    protocol: Protocol,
}

/// The published ports of a service, each with its place.
pub fn ports(cx: &mut Context<'_>, service: &mut Fields<'_>) -> Vec<(PortSpec, Mark)> {
    let Some(field) = service.take("ports") else { return Vec::new() };
    let mut ports = Vec::new();
    for item in cx.list(&field).unwrap_or_default() {
        let found = match item.node.value {
            Value::Map(_) => long(cx, &item),
            _ => short(cx, &item),
        };
        ports.extend(found.unwrap_or_default().into_iter().map(|port| (port, item.at)));
        if ports.len() > PORTS_PER_SERVICE_MAX {
            cx.problem(
                item.at,
                format!("`{}` has more than {PORTS_PER_SERVICE_MAX} ports", field.path),
                "publish fewer",
            );
            return Vec::new();
        }
    }
    ports
}

fn short(cx: &mut Context<'_>, item: &Field<'_>) -> Option<Vec<PortSpec>> {
    let text = cx.word(item, "a port", |s: &Scalar| short_text(&s.text))?;
    spread(
        cx,
        item,
        &text,
        &PortSpec {
            name: None,
            target: 0,
            published: 0,
            host_ip: text.host_ip,
            protocol: text.protocol,
            mode: PortMode::Ingress,
        },
    )
}

/// One port per pair of a range.
fn spread(cx: &mut Context<'_>, item: &Field<'_>, text: &Text, like: &PortSpec) -> Option<Vec<PortSpec>> {
    let Some(published) = &text.published else {
        return Some(text.target.clone().map(|target| PortSpec { target, ..like.clone() }).collect());
    };
    let (host, inside) = (published.len(), text.target.len());
    if host != inside {
        let message = format!("`{}` publishes {host} ports for {inside} inside", item.path);
        cx.problem(item.node.at, message, "write ranges of the same length, or a single port");
        return None;
    }
    let pairs = published.clone().zip(text.target.clone());
    Some(pairs.map(|(published, target)| PortSpec { target, published, ..like.clone() }).collect())
}

fn short_text(text: &str) -> Result<Text, String> {
    let (rest, protocol) = match text.split_once('/') {
        Some((rest, protocol)) => (rest, protocol_of(protocol)?),
        None => (text, Protocol::Tcp),
    };
    let (host, target) = match rest.rsplit_once(':') {
        Some((host, target)) => (Some(host), target),
        None => (None, rest),
    };
    let target = range(target)?;
    let Some(host) = host else { return Ok(Text { host_ip: None, published: None, target, protocol }) };
    let (ip, published) = match host.rsplit_once(':') {
        Some((ip, published)) => (Some(ip), published),
        None if host.ends_with(']') => (Some(host), ""),
        None => (None, host),
    };
    let host_ip = ip.map(address).transpose()?;
    let published = if published.is_empty() && host_ip.is_some() { None } else { Some(published_range(published)?) };
    Ok(Text { host_ip, published, target, protocol })
}

fn address(text: &str) -> Result<IpAddr, String> {
    let inner = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    let parsed = match inner {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().ok().map(IpAddr::V6),
        None => text.parse::<std::net::Ipv4Addr>().ok().map(IpAddr::V4),
    };
    parsed.ok_or_else(|| format!("`{}` is not an IP address; an IPv6 address stands in [ ]", shorten(text)))
}

fn protocol_of(text: &str) -> Result<Protocol, String> {
    match text.to_ascii_lowercase().as_str() {
        "tcp" => Ok(Protocol::Tcp),
        "udp" => Ok(Protocol::Udp),
        other => Err(format!("the protocol `{}` is not supported, only tcp and udp are", shorten(other))),
    }
}

fn range(text: &str) -> Result<RangeInclusive<u16>, String> {
    let range = published_range(text)?;
    if *range.start() == 0 { Err(SHORT_FORMS.into()) } else { Ok(range) }
}

/// A port or a range. 0 alone: any free one.
fn published_range(text: &str) -> Result<RangeInclusive<u16>, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (whole::<u16>(first), whole::<u16>(last)) {
        (Some(0), Some(0)) => Ok(0..=0),
        (Some(first), Some(last)) if 0 < first && first <= last => Ok(first..=last),
        _ => Err(SHORT_FORMS.into()),
    }
}

fn long(cx: &mut Context<'_>, item: &Field<'_>) -> Option<Vec<PortSpec>> {
    let mut keys = cx.map(item)?;
    let name = keys.take("name").and_then(|f| port_name(cx, &f));
    let target = keys.take("target");
    let published = keys.take("published").map(|f| cx.word(&f, "a port", |s| published_range(&s.text)));
    let host_ip = keys.take("host_ip").and_then(|f| host_ip(cx, &f));
    let protocol = keys.take("protocol").and_then(|f| cx.word(&f, "tcp or udp", |s| protocol_of(&s.text)));
    let mode = keys.take("mode").and_then(|f| mode(cx, &f)).unwrap_or_default();
    if let Some(field) = keys.take("app_protocol") {
        cx.notice(field.at, format!("`{}` has no effect: connections are forwarded as they come", field.path));
    }
    keys.finish(cx, &[]);
    let Some(target) = target else {
        cx.problem(
            item.at,
            format!("`{}` has no `target`", item.path),
            "write `target: PORT`, the port inside the container",
        );
        return None;
    };
    let target = cx.word(&target, "a port", |s| range(&s.text))?;
    let published = published.map_or(Some(None), |written| written.map(Some))?;
    let protocol = protocol.unwrap_or_default();
    let text = Text { host_ip, published, target, protocol };
    spread(cx, item, &text, &PortSpec { name, target: 0, published: 0, host_ip, protocol, mode })
}

fn port_name(cx: &mut Context<'_>, field: &Field<'_>) -> Option<String> {
    let text = cx.filled_text(field)?;
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.len() > 63 || !text.chars().all(allowed) || text.starts_with('-') {
        cx.mismatch(field, "a name of a-z, 0-9 and `-`");
        return None;
    }
    Some(text.to_owned())
}

fn host_ip(cx: &mut Context<'_>, field: &Field<'_>) -> Option<IpAddr> {
    let text = cx.filled_text(field)?;
    let parsed = text.parse().ok();
    if parsed.is_none() {
        cx.mismatch(field, "an IP address");
    }
    parsed
}

fn mode(cx: &mut Context<'_>, field: &Field<'_>) -> Option<PortMode> {
    match cx.text(field)? {
        "ingress" => Some(PortMode::Ingress),
        "host" => Some(PortMode::Host),
        _ => {
            cx.mismatch(field, "ingress or host");
            None
        }
    }
}

/// Ports served inside.
pub fn expose(cx: &mut Context<'_>, service: &mut Fields<'_>) -> Vec<ExposedPort> {
    let Some(field) = service.take("expose") else { return Vec::new() };
    let mut exposed = Vec::new();
    for item in cx.list(&field).unwrap_or_default() {
        let Some((range, protocol)) = cx.word(&item, "a port", |s| exposed_text(&s.text)) else { continue };
        exposed.extend(range.map(|port| ExposedPort { port, protocol }));
        if exposed.len() > PORTS_PER_SERVICE_MAX {
            cx.problem(
                item.at,
                format!("`{}` has more than {PORTS_PER_SERVICE_MAX} ports", field.path),
                "expose fewer",
            );
            return Vec::new();
        }
    }
    exposed
}

fn exposed_text(text: &str) -> Result<(RangeInclusive<u16>, Protocol), String> {
    let hint = |_| "write PORT, FIRST-LAST or PORT/udp".to_owned();
    match text.split_once('/') {
        Some((port, protocol)) => Ok((range(port).map_err(hint)?, protocol_of(protocol)?)),
        None => Ok((range(text).map_err(hint)?, Protocol::Tcp)),
    }
}
