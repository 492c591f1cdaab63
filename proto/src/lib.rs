//! The shared words: plain vocabulary types, and the wire generated from `wherry/v1/*.proto`.
//!
//! The vocabulary knows nothing of the wire; `convert` is the only place where both meet.

pub mod assignment;
pub mod chain;
pub mod convert;
pub mod digest;
pub mod endpoint;
pub mod hello;
pub mod id;
pub mod identity;
pub mod join_token;
pub mod label;
pub mod limits;
pub mod names;
pub mod needs;
pub mod node;
pub mod peer;
pub mod ranges;
pub mod revision;
pub mod spec;
pub mod task_state;
mod unshown;

/// Metadata of a reading call that any server answers from what it knows itself, be it old. Of `Control.GetSnapshot`.
pub const STALE: &str = "wherry-stale";

/// The wire, generated. Its documentation is in the `.proto` files.
#[allow(missing_debug_implementations, clippy::all)]
pub mod v1 {
    tonic::include_proto!("wherry.v1");
    /// The schema itself, for reflection.
    pub const DESCRIPTOR: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/wherry_v1.bin"));
}

/// The paths of all calls that an encoded file descriptor set has, such as `/wherry.v1.Control/Why`. None if it is none.
pub fn methods(descriptor: &[u8]) -> Vec<String> {
    use prost::Message;
    let Ok(set) = prost_types::FileDescriptorSet::decode(descriptor) else { return Vec::new() };
    let of_file = |file: &prost_types::FileDescriptorProto| {
        let package = file.package().to_owned();
        let services = file.service.clone();
        services.into_iter().flat_map(move |service| {
            let prefix = format!("/{package}.{}/", service.name());
            service.method.into_iter().map(move |m| format!("{prefix}{}", m.name())).collect::<Vec<_>>()
        })
    };
    set.file.iter().flat_map(of_file).collect()
}
