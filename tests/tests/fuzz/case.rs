//! A case's input, from its number.

use tests::sim::rng::Rng;

use super::run::Target;

pub fn input(target: &dyn Target, case: u64) -> Vec<u8> {
    // Neighbouring numbers share nothing.
    target.input(&mut Rng::new(case.wrapping_mul(0xd134_2543_de82_ef95)))
}
