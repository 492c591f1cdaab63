//! Keys: sealing of secrets, the cluster's authority, the servers' own certificates, and who a certificate is of.
//!
//! Decides no rights (`access` does) and never writes State but by proposing the authority, once. Private keys leave it
//! sealed or not at all.

pub mod authority;
pub mod keeper;
pub mod ring;
pub mod seal;
pub mod sealer;
pub mod shown;
