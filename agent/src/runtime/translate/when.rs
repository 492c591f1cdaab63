//! The engine's times (RFC 3339, nanoseconds, any offset) as milliseconds since 1970.
//!
//! Never fails loudly: what is not a time, or lies before 1970 as the engine's zero time does, is `None`.

use proto::revision::Wall;

/// Parses `2024-05-01T10:11:12.123456789Z` or with an offset such as `+02:00`.
pub fn parse(text: &str) -> Option<Wall> {
    let (date, time) = text.split_once(['T', 't'])?;
    let mut parts = date.splitn(3, '-').map(|p| p.parse::<i64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let at = time.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = time.split_at(at);
    let (whole, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let seconds = hms(whole)? - offset_seconds(zone)?;
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let ms = (days_since_1970(year, month, day) * 86_400 + seconds) * 1000 + millis(fraction)?;
    u64::try_from(ms).ok().map(Wall)
}

fn hms(text: &str) -> Option<i64> {
    let mut parts = text.splitn(3, ':').map(|p| p.parse::<i64>().ok().filter(|n| (0..=60).contains(n)));
    Some(parts.next()?? * 3600 + parts.next()?? * 60 + parts.next()??)
}

fn offset_seconds(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    Some(sign * hms(&format!("{}:0", zone.get(1..)?))?)
}

fn millis(fraction: &str) -> Option<i64> {
    if !fraction.chars().all(|c| c.is_ascii_digit()) {
        return None;
    }
    format!("{fraction:0<3}")[..3].parse().ok()
}

/// Days of the proleptic Gregorian calendar, counted in years that begin in March so that the leap day is the last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (y.div_euclid(400), y.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn times_of_the_engine() {
        for (text, expect) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-02-29T12:00:00Z", Some(951_825_600_000)),
            ("2024-05-01T10:11:12.123456789Z", Some(1_714_558_272_123)),
            ("2024-05-01T10:11:12.1Z", Some(1_714_558_272_100)),
            ("2024-05-01T12:11:12.123+02:00", Some(1_714_558_272_123)),
            ("2024-05-01T04:41:12-05:30", Some(1_714_558_272_000)),
            ("2100-03-01T00:00:00Z", Some(4_107_542_400_000)),
            ("2023-12-31T23:59:59.999999999Z", Some(1_704_067_199_999)),
            ("0001-01-01T00:00:00Z", None),
            ("2024-13-01T00:00:00Z", None),
            ("2024-05-01", None),
            ("2024-05-01T10:11:12", None),
            ("2024-05-01T10:11:12.12x4Z", None),
            ("2024-05-01T1é:11:12Z", None),
            ("", None),
        ] {
            assert_eq!(parse(text).map(|w| w.0), expect, "{text}");
        }
    }
}
