//! The house rules as tests: who may import whom, what every file has, what every reason and example is covered by.
//!
//! Reads source text only: no compiler, no Docker. Every rule is a function of text, and each is broken once on a made-up
//! snippet to show that it notices. What a rule says names the way to put it right.

mod coverage;
mod imports;
mod layout;
mod mutants;
mod source;
mod tree;

/// All broken rules at once, one per line.
fn assert_none(broken: &[String]) {
    assert!(broken.is_empty(), "{} broken:\n{}\n", broken.len(), broken.join("\n"));
}
