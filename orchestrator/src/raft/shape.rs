//! Does a MessagePack value hold what it promises? A length that exceeds the bytes behind it is damage, and some readers
//! would make room for it before they notice.
//!
//! Pure; one pass, no memory. Called by `codec` before anything is decoded.

/// What is wrong with the first value of `bytes`, if anything.
pub(super) fn problem(bytes: &[u8]) -> Option<&'static str> {
    let mut rest = Rest(bytes);
    // Values still to come. Each is a byte at least.
    let mut open: u64 = 1;
    while open > 0 {
        let Some(step) = rest.step() else { return Some("it ends in the middle of a value") };
        open = open - 1 + step;
        if open > rest.0.len() as u64 {
            return Some("it promises more values than there are bytes");
        }
    }
    None
}

struct Rest<'a>(&'a [u8]);

// === impl Rest ===

impl Rest<'_> {
    /// Reads one marker with its payload: how many values it holds. The specification's table of formats.
    fn step(&mut self) -> Option<u64> {
        let marker = self.number(1)?;
        match marker {
            0x80..=0x8f => return Some(2 * (marker & 0x0f)),
            0x90..=0x9f => return Some(marker & 0x0f),
            0xdc => return self.number(2),
            0xdd => return self.number(4),
            0xde => return self.number(2).map(|pairs| 2 * pairs),
            0xdf => return self.number(4).map(|pairs| 2 * pairs),
            _ => {}
        }
        let payload = match marker {
            0xa0..=0xbf => marker & 0x1f,
            0xc4 | 0xd9 => self.number(1)?,
            0xc5 | 0xda => self.number(2)?,
            0xc6 | 0xdb => self.number(4)?,
            0xc7 => self.number(1)? + 1,
            0xc8 => self.number(2)? + 1,
            0xc9 => self.number(4)? + 1,
            0xcc | 0xd0 => 1,
            0xcd | 0xd1 => 2,
            0xca | 0xce | 0xd2 => 4,
            0xcb | 0xcf | 0xd3 => 8,
            0xd4..=0xd8 => (1 << (marker - 0xd4)) + 1,
            _ => 0,
        };
        self.take(payload)?;
        Some(0)
    }

    /// A number of so many bytes.
    fn number(&mut self, bytes: u64) -> Option<u64> {
        let taken = self.take(bytes)?;
        Some(taken.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn take(&mut self, bytes: u64) -> Option<&[u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(bytes).ok()?)?;
        self.0 = rest;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::problem;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_promise_that_cannot_be_kept_is_noticed() {
        for bad in [
            &b""[..],
            b"\xdd\xff\xff\xff\xff",
            b"\xdf\xff\xff\xff\xff\x01\x01",
            b"\xdb\x00\x00\x00\x02a",
            b"\xc6\xff\xff\xff\xff",
            b"\x92\x01",
            b"\x81\xa1a",
            b"\xcf\x00",
            b"\xd8",
        ] {
            assert!(problem(bad).is_some(), "{bad:02x?}");
        }
        for good in [&b"\x92\x01\x02"[..], b"\xc0", b"\xd4\x01\x02", b"\x81\xa1a\x90", b"\xa2hi and what follows"] {
            assert_eq!(problem(good), None, "{good:02x?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

        /// What is written is accepted, and no beginning of it is.
        #[test]
        fn only_the_whole_is_whole(value: (BTreeMap<String, Vec<(i64, f64, Option<u32>)>>, Vec<String>, u64, char)) {
            let bytes = rmp_serde::to_vec_named(&value).expect("it can be written");
            prop_assert_eq!(problem(&bytes), None);
            for end in (0..bytes.len()).step_by(bytes.len() / 32 + 1) {
                prop_assert!(problem(&bytes[..end]).is_some(), "{} of {}", end, bytes.len());
            }
        }
    }
}
