//! Rows for docs/measured.md: what, ours, beside it, the ratio.
//!
//! Prints them as they come; computes medians; judges nothing.

use std::fmt::Write;
use std::time::Duration;

/// What was measured.
#[derive(Debug, Default)]
pub struct Report {
    left_out: Vec<String>,
}

/// Several values of one thing.
#[derive(Debug, Clone, PartialEq)]
pub struct Values(Vec<f64>);

// === impl Report ===

impl Report {
    /// A heading.
    pub fn part(&self, name: &str) {
        println!("\n== {name}");
    }

    /// A row with something beside it. `unit` follows both numbers.
    pub fn against(&self, what: &str, ours: &Values, beside: &str, theirs: &Values, unit: &str) {
        println!("   ours:   {}", ours.raw(unit));
        println!("   beside: {}", theirs.raw(unit));
        let (our, their) = (ours.median(), theirs.median());
        let ratio = if their > 0.0 { format!("{:.2}", our / their) } else { String::new() };
        println!(
            "| {what} | {} median of {} | {beside}: {} median of {} | {ratio} |",
            amount(our, unit),
            ours.0.len(),
            amount(their, unit),
            theirs.0.len()
        );
    }

    /// A row with nothing beside it.
    pub fn alone(&self, what: &str, ours: &Values, unit: &str) {
        println!("   {}", ours.raw(unit));
        println!("| {what} | {} median of {} | | |", amount(ours.median(), unit), ours.0.len());
    }

    /// A part that cannot be measured here.
    pub fn leave_out(&mut self, part: &str, why: &str) {
        println!("!! {part} is LEFT OUT: {why}");
        self.left_out.push(part.to_owned());
    }

    /// Parts that were left out.
    pub fn left_out(&self) -> &[String] {
        &self.left_out
    }
}

// === impl Values ===

impl Values {
    /// Of several.
    ///
    /// # Panics
    /// When there is none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Values {
        let values: Vec<f64> = values.into_iter().collect();
        assert!(!values.is_empty(), "nothing was measured");
        Values(values)
    }

    /// Of durations, in milliseconds.
    pub fn ms(durations: &[Duration]) -> Values {
        Values::of(durations.iter().map(|d| d.as_secs_f64() * 1e3))
    }

    /// The middle one; of an even number the mean of the two in the middle.
    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
    }

    fn raw(&self, unit: &str) -> String {
        const SHOWN: usize = 24;
        let mut text = String::new();
        for value in self.0.iter().take(SHOWN) {
            let _ = write!(text, "{} ", amount(*value, ""));
        }
        if self.0.len() > SHOWN {
            let _ = write!(text, "... ({} values) ", self.0.len());
        }
        text + unit
    }
}

fn amount(value: f64, unit: &str) -> String {
    let digits = match value.abs() {
        v if v >= 1000.0 => 0,
        v if v >= 10.0 => 1,
        _ => 3,
    };
    format!("{value:.digits$} {unit}").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(Values::of([3.0, 1.0, 2.0]).median(), 2.0);
        assert_eq!(Values::of([4.0, 1.0, 2.0, 3.0]).median(), 2.5);
    }
}
