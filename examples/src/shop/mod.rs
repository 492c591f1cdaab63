//! The shop: `front` asks `user`, `product`, `cart` and `payment`; `cart` asks `product`.
//!
//! Does: one file per service, each a value with `answer(&Request) -> Response`.
//! Never: listens or reads the environment itself; that is `server` and `settings`.
//! Called by: `src/bin/shop.rs`.

pub mod cart;
pub mod front;
pub mod page;
pub mod payment;
pub mod product;
pub mod user;

/// An amount as people write it: `cents` 1250 is `12.50`.
pub fn price(cents: u64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

/// A count and its noun: `1 product`, `2 products`.
pub fn count_things(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}
