//! A server or an agent of this very host, begun by ctl: by the host's service manager, or as plain processes where there
//! is none.
//!
//! `layout` and `units` say what is to be where (pure), `processes` does it. Knows the programs by their command lines
//! only. Called by `command/cluster`.

pub mod layout;
pub mod processes;
pub mod units;
