//! Compiles `proto/` with protox (no protoc to install) and keeps the descriptor set for reflection and for the policy tests.

use std::path::{Path, PathBuf};

use prost::Message as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    let mut files = Vec::new();
    for service in ["billing", "database", "instance", "notification", "user", "worker"] {
        files.push(root.join(format!("saasodoo/{service}/v1/{service}.proto")));
    }
    println!("cargo:rerun-if-changed={}", root.display());
    let descriptors = protox::compile(&files, [&root])?;
    #[expect(
        clippy::disallowed_methods,
        reason = "cargo tells a build script its output folder in the environment"
    )]
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
