//! Chance from a seed: the only source of it in a simulated world.

/// SplitMix64: small, and the same everywhere.
#[derive(Debug, Clone)]
pub struct Rng {
    state: u64,
}

// === impl Rng ===

impl Rng {
    /// The same seed gives the same chances.
    pub fn new(seed: u64) -> Rng {
        Rng { state: seed ^ 0x9e37_79b9_7f4a_7c15 }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from `low` to `high`, both included.
    pub fn range(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    /// True `permille` times of a thousand.
    pub fn chance(&mut self, permille: u64) -> bool {
        self.next() % 1_000 < permille
    }

    /// One of them; `None` of nothing.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        if of.is_empty() {
            return None;
        }
        of.get(self.range(0, of.len() as u64 - 1) as usize)
    }

    /// Mostly short, sometimes long: a number from `low`, seldom up to `high`.
    pub fn skewed(&mut self, low: u64, high: u64) -> u64 {
        let cap = match self.range(0, 9) {
            0 => high,
            1..=3 => low + (high - low) / 4,
            _ => low + (high - low) / 20,
        };
        self.range(low, cap)
    }
}
