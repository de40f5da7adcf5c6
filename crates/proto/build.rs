//! Turns `proto/*.proto` into Rust at build time. protox reads the files in Rust itself, so no
//! protoc is needed on a fresh machine.

use std::error::Error;
use std::fs;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let mut files: Vec<String> = fs::read_dir("proto")?
        .map(|entry| entry.map(|e| e.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_, _>>()?;
    files.sort();
    let descriptors = protox::compile(&files, ["proto"])?;
    // `bytes` fields share the buffer a message was decoded from instead of copying it.
    prost_build::Config::new().bytes(["."]).compile_fds(descriptors)?;
    Ok(())
}
