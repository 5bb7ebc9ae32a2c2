//! Compiles `proto/` with protox (no protoc to install) and keeps the descriptor set for reflection and for
//! the policy tests.

use std::path::PathBuf;

use prost::Message as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Asked when it runs, not when it is compiled: a script that was compiled in another checkout must read
    // the protos of this one.
    let root = PathBuf::from(told("CARGO_MANIFEST_DIR")?).join("../../proto");
    let mut files = Vec::new();
    for service in ["billing", "database", "instance", "notification", "user", "worker"] {
        files.push(root.join(format!("saasodoo/{service}/v1/{service}.proto")));
    }
    println!("cargo:rerun-if-changed={}", root.display());
    let descriptors = protox::compile(&files, [&root])?;
    let out = PathBuf::from(told("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "cargo tells a build script its folders in the environment")]
fn told(name: &str) -> Result<std::ffi::OsString, String> {
    std::env::var_os(name).ok_or_else(|| format!("{name} is not set"))
}
