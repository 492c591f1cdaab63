//! Keys: sealing of secrets. Certificates and tokens join it when the first TCP listener does.

pub mod seal;
