//! Who may do what: one table, one choke point in front of both doors, nothing allowed that is not written.
//!
//! # Flow
//! `gate` stands before every service: it finds out who calls (a local socket, a verified certificate, nobody), asks
//! State whether that identity still is what it says, and `rights` whether it may make this call. The doors then ask
//! `Caller` about what only the message tells: whose node, which project.
//!
//! # Guarantees
//! What an operator may do is read from State at each call, never from its certificate. A stream ends when the right to
//! it ends. A call without a row is refused, and a server whose calls have not all a row does not start. What is refused
//! to somebody who is known is noted for the audit (`witness`, `refusals`).

pub(crate) mod behalf;
mod caller;
mod gate;
mod guarded;
pub mod refusals;
pub mod rights;
mod scope;
mod witness;

pub use behalf::may_still;
pub use caller::Caller;
pub use gate::Gate;
pub use guarded::Guarded;
pub use refusals::Refusals;
pub use scope::{About, Asked, By, admit, admit_change};
pub use witness::{Witness, origin};
