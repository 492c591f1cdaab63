//! How often an address may try to join. Pure: `now` is an argument.
//!
//! Bounded in all: what strangers send does not grow memory.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// Attempts of one address within `WINDOW_MS`: enough for a host's agents and for mistakes, too few to guess.
pub const ATTEMPTS_MAX: u32 = 30;
/// In milliseconds.
pub const WINDOW_MS: u64 = 60_000;
/// Addresses that are remembered. When there are more, those of the window are refused together.
const ADDRESSES_MAX: usize = 4_096;

/// Who tried how often since the window began.
#[derive(Debug, Default)]
pub struct Attempts {
    began_ms: u64,
    by_address: BTreeMap<IpAddr, u32>,
}

impl Attempts {
    /// Counts one attempt; false when it is one too many.
    pub fn take(&mut self, address: IpAddr, now_ms: u64) -> bool {
        if now_ms.saturating_sub(self.began_ms) >= WINDOW_MS {
            self.began_ms = now_ms;
            self.by_address.clear();
        }
        if self.by_address.len() >= ADDRESSES_MAX && !self.by_address.contains_key(&address) {
            return false;
        }
        let count = self.by_address.entry(address).or_default();
        *count += 1;
        *count <= ATTEMPTS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u32) -> IpAddr {
        IpAddr::V4(n.into())
    }

    #[test]
    fn each_address_has_its_own_and_gets_them_back() {
        let mut attempts = Attempts::default();
        let count = |attempts: &mut Attempts, n, now| (0..100).filter(|_| attempts.take(address(n), now)).count();
        assert_eq!(count(&mut attempts, 1, 0), ATTEMPTS_MAX as usize);
        assert_eq!(count(&mut attempts, 2, WINDOW_MS - 1), ATTEMPTS_MAX as usize);
        assert!(!attempts.take(address(1), WINDOW_MS - 1));
        assert!(attempts.take(address(1), WINDOW_MS));
    }

    #[test]
    fn many_addresses_do_not_grow_it() {
        let mut attempts = Attempts::default();
        let let_in = (0..100_000).filter(|n| attempts.take(address(*n), 0)).count();
        assert_eq!((let_in, attempts.by_address.len()), (ADDRESSES_MAX, ADDRESSES_MAX));
        assert!(attempts.take(address(7), 0), "who was there goes on");
    }
}
