//! Compiles `wherry/v1/*.proto` without a system protoc.

use prost::Message;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=wherry");
    let files = [
        "wherry/v1/common.proto",
        "wherry/v1/agent.proto",
        "wherry/v1/control.proto",
        "wherry/v1/identity.proto",
        "wherry/v1/server.proto",
    ];
    let descriptors = protox::compile(files, ["."])?;
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("wherry_v1.bin"), descriptors.encode_to_vec())?;
    // `src/unshown.rs` says what is shown of those that carry keys.
    let unshown = ["wherry.v1.EnrolResponse", "wherry.v1.FetchSealingKeyResponse"];
    tonic_prost_build::configure().btree_map(".").skip_debug(unshown).compile_fds(descriptors)?;
    Ok(())
}
