//! Kinds of trouble, and how often each was seen to happen.

use std::collections::BTreeMap;
use std::fmt;

/// What can go wrong in a world.
pub trait Kind: Copy + Ord + fmt::Debug + Send + 'static {
    /// All that can.
    fn all() -> impl Iterator<Item = Self>;
}

/// How often each kind was seen to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen<T>(BTreeMap<T, u64>);

// === impl Seen ===

impl<T> Default for Seen<T> {
    fn default() -> Self {
        Seen(BTreeMap::new())
    }
}

impl<T: Kind> Seen<T> {
    /// It happened once more.
    pub fn count(&mut self, trouble: T) {
        *self.0.entry(trouble).or_default() += 1;
    }

    /// Takes in what another run saw.
    pub fn add(&mut self, other: &Seen<T>) {
        for (trouble, times) in &other.0 {
            *self.0.entry(*trouble).or_default() += times;
        }
    }

    /// How often.
    pub fn times(&self, trouble: T) -> u64 {
        self.0.get(&trouble).copied().unwrap_or_default()
    }

    /// Kinds that never happened.
    pub fn missing(&self) -> Vec<T> {
        T::all().filter(|t| self.times(*t) == 0).collect()
    }
}

impl<T: Kind> fmt::Display for Seen<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, trouble) in T::all().enumerate() {
            let name = format!("{trouble:?}");
            write!(f, "{}{name:<16} {:>9}", if at % 3 == 0 { "\n  " } else { "   " }, self.times(trouble))?;
        }
        Ok(())
    }
}
