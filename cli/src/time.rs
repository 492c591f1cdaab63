//! Spans and moments as people write and read them: `5m`, `2h13m`, RFC 3339.
//!
//! Never reads a clock but in `now_ms`. Called by the argument parser, tables and JSON.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970 on this machine's clock: for ages, never for order.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// `500ms`, `30s`, `5m`, `1h30m`, `2d`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a span of time; write one such as 500ms, 30s, 5m or 1h30m");
    let mut total_ms: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        let unit_len = rest[digits..].find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len() - digits);
        let unit_ms = match &rest[digits..digits + unit_len] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        let part = number.checked_mul(unit_ms).ok_or_else(wrong)?;
        total_ms = total_ms.checked_add(part).ok_or_else(wrong)?;
        rest = &rest[digits + unit_len..];
    }
    if text.is_empty() { Err(wrong()) } else { Ok(Duration::from_millis(total_ms)) }
}

/// A span in at most two units: `340ms` is `0s`, `5m12s`, `2h13m`, `3d4h`.
pub fn age(ms: u64) -> String {
    let seconds = ms / 1000;
    let pair = |big: u64, big_unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{big}{big_unit}"),
        _ => format!("{big}{big_unit}{small}{small_unit}"),
    };
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => pair(seconds / 60, "m", seconds % 60, "s"),
        3_600..86_400 => pair(seconds / 3_600, "h", seconds % 3_600 / 60, "m"),
        _ => pair(seconds / 86_400, "d", seconds % 86_400 / 3_600, "h"),
    }
}

/// The age of a moment, `-` when it is not known.
pub fn age_since(now_unix_ms: u64, then_unix_ms: u64) -> String {
    match then_unix_ms {
        0 => "-".to_owned(),
        then => age(now_unix_ms.saturating_sub(then)),
    }
}

/// RFC 3339 in UTC with milliseconds, `None` when the moment is not known.
pub fn rfc3339(unix_ms: u64) -> Option<String> {
    let signed = i64::try_from(unix_ms).ok().filter(|ms| *ms != 0)?;
    let moment = jiff::Timestamp::from_millisecond(signed).ok()?;
    Some(format!("{moment:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_parse() {
        for (text, ms) in [("500ms", 500), ("30s", 30_000), ("5m", 300_000), ("1h30m", 5_400_000), ("2d", 172_800_000)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for bad in ["", "5", "m", "5 m", "-5m", "5x", "99999999999999999999s", "9999999999999999d"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ages_have_at_most_two_units() {
        let cases = [
            (0, "0s"),
            (59_999, "59s"),
            (60_000, "1m"),
            (312_000, "5m12s"),
            (7_980_000, "2h13m"),
            (86_400_000, "1d"),
            (273_600_000, "3d4h"),
        ];
        for (ms, want) in cases {
            assert_eq!(age(ms), want);
        }
        assert_eq!(age_since(10_000, 0), "-");
        assert_eq!(age_since(5_000, 10_000), "0s", "a clock that is behind gives no negative age");
    }

    #[test]
    fn moments_are_rfc3339() {
        assert_eq!(rfc3339(1_700_000_000_123).as_deref(), Some("2023-11-14T22:13:20.123Z"));
        assert_eq!(rfc3339(0), None);
    }
}
