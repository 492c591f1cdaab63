//! Images: references taken apart, and what an image says of its own health and ports.
//!
//! Never asks a registry.

use super::super::ImageInfo;
use bollard::models::{HealthConfig, ImageInspect};
use proto::spec::{ExposedPort, HealthCheck, Probe, Protocol};

const NS_PER_MS: i64 = 1_000_000;
const INTERVAL_MS: u64 = 30_000;
const TIMEOUT_MS: u64 = 30_000;
const RETRIES: u32 = 3;
/// Between checks until the first success, where the image says nothing.
const START_INTERVAL_MS: u64 = 1_000;

/// `name`, `name:tag` or `name@digest` as the two halves that a pull asks for. Without either, the tag is `latest`.
pub fn split_reference(reference: &str) -> (&str, &str) {
    if let Some((name, digest)) = reference.split_once('@') {
        // A tag beside a digest says nothing: the digest decides.
        return (split_tag(name).0, digest);
    }
    let (name, tag) = split_tag(reference);
    (name, tag.unwrap_or("latest"))
}

/// A colon after the last slash begins a tag; one before it belongs to the registry's port.
fn split_tag(reference: &str) -> (&str, Option<&str>) {
    let last = reference.rfind('/').map_or(0, |i| i + 1);
    match reference[last..].find(':') {
        Some(at) => (&reference[..last + at], Some(&reference[last + at + 1..])),
        None => (reference, None),
    }
}

/// What matters of an image.
pub fn info(inspected: ImageInspect) -> ImageInfo {
    let config = inspected.config.unwrap_or_default();
    let parts = [inspected.os, inspected.architecture, inspected.variant];
    let platform = parts.into_iter().flatten().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
    ImageInfo {
        platform,
        id: inspected.id.unwrap_or_default(),
        health: config.healthcheck.as_ref().and_then(|h| health(h, config.shell.as_deref())),
        exposed: ports(config.exposed_ports.as_deref().unwrap_or_default()),
    }
}

/// Whether an image for `platform` will do where `asked` is asked for, both `OS[/ARCH[/VARIANT]]`: what either does not
/// say is as good as any.
pub fn is_for(platform: &str, asked: Option<&str>) -> bool {
    let Some(asked) = asked else { return true };
    let same = |a: &str, b: &str| architecture(a) == architecture(b);
    platform.is_empty() || platform.split('/').zip(asked.split('/')).all(|(a, b)| same(a, b))
}

/// One name for what kernels and images call differently.
fn architecture(name: &str) -> &str {
    match name {
        "x86_64" | "x86-64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The image's HEALTHCHECK; `None` when it has none or disables it. A zero takes the engine's default.
/// `shell` is the image's SHELL, which runs the shell form.
pub fn health(config: &HealthConfig, shell: Option<&[String]>) -> Option<HealthCheck> {
    let test = config.test.as_deref().unwrap_or_default();
    let argv = match test.split_first() {
        Some((kind, rest)) if kind == "CMD" && !rest.is_empty() => rest.to_vec(),
        Some((kind, rest)) if kind == "CMD-SHELL" && !rest.is_empty() => {
            let default = ["/bin/sh".to_owned(), "-c".to_owned()];
            let shell = shell.filter(|s| !s.is_empty()).unwrap_or(&default);
            shell.iter().cloned().chain([rest.join(" ")]).collect()
        }
        _ => return None,
    };
    Some(HealthCheck {
        probe: Probe::Exec { argv },
        interval_ms: ms(config.interval, INTERVAL_MS),
        timeout_ms: ms(config.timeout, TIMEOUT_MS),
        retries: config.retries.and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0).unwrap_or(RETRIES),
        start_period_ms: ms(config.start_period, 0),
        start_interval_ms: ms(config.start_interval, START_INTERVAL_MS),
    })
}

/// Nanoseconds, 0 or absent meaning the default; what is below a millisecond becomes one.
fn ms(ns: Option<i64>, default: u64) -> u64 {
    match ns {
        Some(ns) if ns > 0 => u64::try_from(ns / NS_PER_MS).unwrap_or(default).max(1),
        _ => default,
    }
}

fn ports(exposed: &[String]) -> Vec<ExposedPort> {
    let mut ports: Vec<ExposedPort> = exposed.iter().filter_map(|text| port(text)).collect();
    ports.sort();
    ports.dedup();
    ports
}

/// `80`, `80/tcp` or `53/udp`; SCTP is not ours to serve.
fn port(text: &str) -> Option<ExposedPort> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        _ => return None,
    };
    Some(ExposedPort { port: number.parse().ok()?, protocol })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references() {
        for (text, expect) in [
            ("nginx", ("nginx", "latest")),
            ("nginx:1.27", ("nginx", "1.27")),
            ("library/nginx:1", ("library/nginx", "1")),
            ("localhost:5000/app", ("localhost:5000/app", "latest")),
            ("localhost:5000/app:v2", ("localhost:5000/app", "v2")),
            ("a/b@sha256:00ff", ("a/b", "sha256:00ff")),
            ("a/b:v1@sha256:00ff", ("a/b", "sha256:00ff")),
        ] {
            assert_eq!(split_reference(text), expect, "{text}");
        }
    }

    fn config(text: &str) -> HealthConfig {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn healthchecks_that_say_nothing() {
        for text in [
            "{}",
            r#"{"Test":[]}"#,
            r#"{"Test":["NONE"]}"#,
            r#"{"Test":["CMD"]}"#,
            r#"{"Test":["CMD-SHELL"]}"#,
            r#"{"Interval":5000000000}"#,
            r#"{"Test":["WHAT","x"]}"#,
        ] {
            assert_eq!(health(&config(text), None), None, "{text}");
        }
    }

    #[test]
    fn healthchecks() {
        let zeroes = r#"{"Test":["CMD","/probe","-x"],"Interval":0,"Timeout":0,"Retries":0,"StartPeriod":0}"#;
        let all = r#"{"Test":["CMD-SHELL","curl -f localhost || exit 1"],"Interval":5000000000,"Timeout":250000000,
            "Retries":7,"StartPeriod":60000000000,"StartInterval":500000000}"#;
        let tiny = r#"{"Test":["CMD","x"],"Interval":10,"Retries":-2}"#;
        let exec = |argv: &[&str]| Probe::Exec { argv: argv.iter().map(|a| (*a).to_owned()).collect() };
        let check = |probe, interval_ms, timeout_ms, retries, start_period_ms, start_interval_ms| HealthCheck {
            probe,
            interval_ms,
            timeout_ms,
            retries,
            start_period_ms,
            start_interval_ms,
        };
        for (text, expect) in [
            (zeroes, check(exec(&["/probe", "-x"]), 30_000, 30_000, 3, 0, 1_000)),
            (all, check(exec(&["/bin/sh", "-c", "curl -f localhost || exit 1"]), 5_000, 250, 7, 60_000, 500)),
            (tiny, check(exec(&["x"]), 1, 30_000, 3, 0, 1_000)),
        ] {
            assert_eq!(health(&config(text), None), Some(expect), "{text}");
        }
    }

    #[test]
    fn the_shell_form_uses_the_images_shell() {
        let shell = ["/bin/bash".to_owned(), "-ec".to_owned()];
        let check = health(&config(r#"{"Test":["CMD-SHELL","true"]}"#), Some(&shell)).unwrap();
        let argv = ["/bin/bash", "-ec", "true"].map(str::to_owned).to_vec();
        assert_eq!(check.probe, Probe::Exec { argv });
    }

    #[test]
    fn exposed_ports() {
        let texts = ["80/tcp", "53/udp", "443", "80/tcp", "9/sctp", "x/tcp", "70000/tcp"].map(str::to_owned);
        let tcp = |port| ExposedPort { port, protocol: Protocol::Tcp };
        let expect = vec![ExposedPort { port: 53, protocol: Protocol::Udp }, tcp(80), tcp(443)];
        assert_eq!(ports(&texts), expect);
    }
}
