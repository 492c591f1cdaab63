//! The little languages inside scalars: durations, byte sizes, processors, permission bits, command lines.
//!
//! Never knows where a text came from; an error is only what to say. Called by `lower`.

use std::str::FromStr;

/// A command line split into words.
#[derive(Debug, PartialEq, Eq)]
pub struct Words {
    /// The words, quotes and backslashes resolved.
    pub words: Vec<String>,
    /// The first character outside quotes that only a shell would understand.
    pub shell_character: Option<char>,
}

/// Splits a command line as a shell would, without expanding anything. Error: a quote is not closed.
pub fn split_command(text: &str) -> Result<Words, String> {
    let mut words = Vec::new();
    let mut shell_character = None;
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            c if c.is_whitespace() => words.extend(word.take()),
            '\'' => {
                let open = word.get_or_insert_default();
                quoted(&mut chars, open, '\'')?;
            }
            '"' => {
                let open = word.get_or_insert_default();
                quoted(&mut chars, open, '"')?;
            }
            '\\' => word.get_or_insert_default().extend(chars.next()),
            c => {
                if matches!(c, '|' | '&' | ';' | '<' | '>' | '`') {
                    shell_character = shell_character.or(Some(c));
                }
                word.get_or_insert_default().push(c);
            }
        }
    }
    words.extend(word);
    Ok(Words { words, shell_character })
}

fn quoted(chars: &mut std::str::Chars<'_>, word: &mut String, quote: char) -> Result<(), String> {
    while let Some(c) = chars.next() {
        match c {
            c if c == quote => return Ok(()),
            '\\' if quote == '"' => match chars.next() {
                Some(escaped @ ('"' | '\\' | '$' | '`')) => word.push(escaped),
                Some(other) => word.extend(['\\', other]),
                None => {}
            },
            c => word.push(c),
        }
    }
    Err(format!("has no closing {quote}"))
}

/// A duration such as `1m30s` or `1.5s`, in milliseconds, rounded up. Units: us, ms, s, m, h, d, w.
pub fn duration_ms(text: &str) -> Result<u64, String> {
    const HINT: &str = "write a number and a unit, such as `10s` or `1m30s`";
    if text == "0" {
        return Ok(0);
    }
    let mut rest = text;
    let mut micros: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|c: char| !c.is_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let unit_micros = match unit {
            "us" | "µs" => 1,
            "ms" => 1_000,
            "s" => 1_000_000,
            "m" => 60_000_000,
            "h" => 3_600_000_000,
            "d" => 86_400_000_000,
            "w" => 604_800_000_000,
            _ => return Err(HINT.into()),
        };
        let part = scaled(number, unit_micros).ok_or(HINT)?;
        micros = micros.checked_add(part).ok_or(HINT)?;
        rest = after;
    }
    if text.is_empty() { Err(HINT.into()) } else { Ok(micros.div_ceil(1000)) }
}

/// Decimal number times a whole factor, the fraction cut after nine digits. `None`: not a number, or too large.
fn scaled(number: &str, factor: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole = if whole.is_empty() { 0 } else { parse_digits(whole)? };
    let mut sum = whole.checked_mul(factor)?;
    if !fraction.is_empty() {
        let kept: String = fraction.chars().chain("000000000".chars()).take(9).collect();
        parse_digits(fraction.get(..fraction.len().min(9))?)?;
        let nanos = u128::from(parse_digits(&kept)?);
        sum = sum.checked_add(u64::try_from(nanos * u128::from(factor) / 1_000_000_000).ok()?)?;
    }
    Some(sum)
}

fn parse_digits(text: &str) -> Option<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

/// A number of bytes such as `512m`, `1.5gb` or `1048576`; units of 1024, case does not matter.
pub fn bytes(text: &str) -> Result<u64, String> {
    let hint = || "write a number and b, k, m or g, such as `512m`".to_owned();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1 << 40,
        _ => return Err(hint()),
    };
    scaled(number, factor).ok_or_else(hint)
}

/// Processors such as `0.5` or `2`, in thousandths, at least one.
pub fn cpu_millis(text: &str) -> Result<u64, String> {
    let hint = || "write a number of processors, such as `0.5` or `2`".to_owned();
    let millis = scaled(text, 1000).ok_or_else(hint)?;
    if millis == 0 || millis > 1_000_000 { Err(hint()) } else { Ok(millis) }
}

/// Permission bits. Octal as text (`"0440"`, `"440"`) or with a leading zero; an unquoted number without one would be decimal in
/// Compose, which nobody means, and is refused.
pub fn mode(text: &str, is_number: bool) -> Result<u32, String> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    if is_number && !text.starts_with('0') {
        return Err(format!("an unquoted {text} would be decimal; write \"0{text}\" for octal"));
    }
    let bits = u32::from_str_radix(digits, 8).ok().filter(|bits| *bits <= 0o7777 && !digits.starts_with('+'));
    bits.ok_or_else(|| "write octal permission bits, such as \"0440\"".into())
}

/// A whole number, decimal, perhaps quoted.
pub fn whole<T: FromStr>(text: &str) -> Option<T> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

/// A boolean as Compose takes it.
pub fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "y" | "on" => Some(true),
        "false" | "no" | "n" | "off" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, ms) in [
            ("10s", 10_000),
            ("1m30s", 90_000),
            ("1h2m3s4ms", 3_723_004),
            ("1.5s", 1_500),
            (".5s", 500),
            ("500us", 1),
            ("0s", 0),
            ("0", 0),
            ("1w", 604_800_000),
        ] {
            assert_eq!(duration_ms(text), Ok(ms), "{text}");
        }
        for bad in ["", "10", "s", "-1s", "1x", "1.2.3s", "99999999999999999999s", "18446744073709551615w", "1 s", "."]
        {
            assert!(duration_ms(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes() {
        for (text, want) in
            [("512m", 512 << 20), ("1g", 1 << 30), ("1.5GB", 3 << 29), ("100", 100), ("100b", 100), ("64 k", 65536)]
        {
            assert_eq!(bytes(text), Ok(want), "{text}");
        }
        for bad in ["", "m", "-1m", "1x", "1.2.3m", "99999999999999999999g", "18446744073709551615g"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
        assert_eq!((cpu_millis("0.5"), cpu_millis("2")), (Ok(500), Ok(2000)));
        for bad in ["0", "", "x", "-1", "1e3", "0.0001"] {
            assert!(cpu_millis(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn permission_bits() {
        for (text, number, want) in [
            ("0440", true, 0o440),
            ("0o444", true, 0o444),
            ("0440", false, 0o440),
            ("440", false, 0o440),
            ("0", true, 0),
        ] {
            assert_eq!(mode(text, number), Ok(want), "{text}");
        }
        for (bad, number) in
            [("440", true), ("888", false), ("", false), ("77777", false), ("+440", false), ("rw", false)]
        {
            assert!(mode(bad, number).is_err(), "{bad}");
        }
    }

    #[test]
    fn command_lines() {
        for (text, want) in [
            ("nginx -g 'daemon off;'", vec!["nginx", "-g", "daemon off;"]),
            ("a  \"b c\"d e\\ f ''", vec!["a", "b cd", "e f", ""]),
            ("echo \"a\\\"b\\n\" '\\n'", vec!["echo", "a\"b\\n", "\\n"]),
            ("", vec![]),
        ] {
            let split = split_command(text).expect("closed");
            assert_eq!(
                (split.words, split.shell_character),
                (want.into_iter().map(String::from).collect(), None),
                "{text}"
            );
        }
        assert_eq!(split_command("a | b > c").expect("closed").shell_character, Some('|'));
        assert!(split_command("a 'b").is_err());
        assert!(split_command("a \"b").is_err());
    }
}
