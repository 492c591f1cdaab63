//! The judgement of health checks.
//!
//! Never runs a check: the prober brings samples. Rules: Compose Specification, section 05, `healthcheck`; the check is
//! first run at once, then every `start_interval` until the first success, then every `interval`.

use proto::revision::Time;
use proto::spec::{HealthCheck, HealthSpec};
use proto::task_state::Health;
use serde::{Deserialize, Serialize};

/// What one check said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// It passed.
    pub passed: bool,
    /// What it said, shortened; for people.
    pub output: String,
}

/// What the checks of one incarnation said so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct History {
    /// Counted failures in a row.
    pub failures: u32,
    /// One has passed: the start period is over.
    pub ever_passed: bool,
    /// The judgement.
    pub health: Health,
}

/// Which check a container has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effective<'a> {
    /// The image decides, and it has not been read yet.
    Unknown,
    /// None.
    None,
    /// This one.
    Check(&'a HealthCheck),
}

/// What the image says of health, once it was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageCheck {
    /// It has no HEALTHCHECK.
    Absent,
    /// Its HEALTHCHECK.
    Present(HealthCheck),
}

/// The check that counts: the manifest's, or the image's when the manifest leaves it to that.
pub fn effective<'a>(spec: &'a HealthSpec, image: Option<&'a ImageCheck>) -> Effective<'a> {
    match (spec, image) {
        (HealthSpec::Disabled, _) | (HealthSpec::FromImage, Some(ImageCheck::Absent)) => Effective::None,
        (HealthSpec::Check(check), _) | (HealthSpec::FromImage, Some(ImageCheck::Present(check))) => {
            Effective::Check(check)
        }
        (HealthSpec::FromImage, None) => Effective::Unknown,
    }
}

impl Effective<'_> {
    /// Health of a process that has just started.
    pub fn at_start(&self) -> Health {
        match self {
            Effective::None => Health::None,
            Effective::Unknown | Effective::Check(_) => Health::Starting,
        }
    }
}

/// The judgement after one more sample of a process that started at `started`.
pub fn judge(check: &HealthCheck, history: &History, sample: &Sample, started: Time, now: Time) -> History {
    if sample.passed {
        return History { failures: 0, ever_passed: true, health: Health::Healthy };
    }
    let forgiven = !history.ever_passed && now.since_ms(started) < check.start_period_ms;
    if forgiven {
        return History { health: Health::Starting, ..history.clone() };
    }
    let failures = history.failures.saturating_add(1);
    let health = if failures >= check.retries.max(1) { Health::Unhealthy } else { history.health };
    History { failures, health, ever_passed: history.ever_passed }
}

/// Time from the end of one check to the start of the next, in milliseconds.
pub fn pause_ms(check: &HealthCheck, ever_passed: bool) -> u64 {
    let pause = if ever_passed { check.interval_ms } else { check.start_interval_ms };
    // A manifest may say 0s; a check that never rests would starve what it checks.
    pause.max(10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::spec::Probe;

    fn check(retries: u32, start_period_ms: u64) -> HealthCheck {
        HealthCheck {
            probe: Probe::Tcp { port: 80 },
            interval_ms: 5_000,
            timeout_ms: 1_000,
            retries,
            start_period_ms,
            start_interval_ms: 1_000,
        }
    }

    /// Samples as `ms:+` and `ms:-`, what each leads to: s(tarting) h(ealthy) u(nhealthy).
    fn run(check: &HealthCheck, samples: &str) -> String {
        let mut history = History { health: Health::Starting, ..History::default() };
        let mut out = String::new();
        for word in samples.split_whitespace() {
            let (at, sign) = word.split_once(':').unwrap();
            let sample = Sample { passed: sign == "+", output: String::new() };
            history = judge(check, &history, &sample, Time(0), Time(at.parse().unwrap()));
            out.push(history.health.as_str().chars().next().unwrap());
        }
        out
    }

    #[test]
    fn judgements() {
        let table = [
            // retries, start period, samples, judgements
            (3, 0, "1:+ 2:- 3:- 4:- 5:+", "hhhuh"),
            (3, 0, "1:- 2:- 3:-", "ssu"),
            (3, 0, "1:- 2:- 3:+ 4:- 5:- 6:+", "sshhhh"),
            (1, 0, "1:-", "u"),
            (0, 0, "1:-", "u"),
            (2, 100, "1:- 50:- 99:- 100:- 101:-", "ssssu"),
            // The first success ends the start period.
            (2, 100, "1:- 2:+ 3:- 4:-", "shhu"),
        ];
        for (retries, start_period, samples, expected) in table {
            assert_eq!(run(&check(retries, start_period), samples), expected, "{retries} {start_period} {samples}");
        }
    }

    #[test]
    fn it_asks_often_until_the_first_success() {
        assert_eq!(pause_ms(&check(3, 0), false), 1_000);
        assert_eq!(pause_ms(&check(3, 0), true), 5_000);
        assert_eq!(pause_ms(&HealthCheck { interval_ms: 0, ..check(3, 0) }, true), 10);
    }

    #[test]
    fn the_manifest_overrules_the_image() {
        let image = ImageCheck::Present(check(9, 0));
        let own = HealthSpec::Check(check(1, 0));
        assert_eq!(effective(&own, Some(&image)), Effective::Check(&check(1, 0)));
        assert_eq!(effective(&HealthSpec::Disabled, Some(&image)), Effective::None);
        assert_eq!(effective(&HealthSpec::FromImage, Some(&image)), Effective::Check(&check(9, 0)));
        assert_eq!(effective(&HealthSpec::FromImage, Some(&ImageCheck::Absent)), Effective::None);
        assert_eq!(effective(&HealthSpec::FromImage, None), Effective::Unknown);
    }
}
