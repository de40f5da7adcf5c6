//! Turns `proto/*.proto` into Rust at build time. protox reads the files in Rust itself, so no
//! protoc is needed on a fresh machine.

use std::env;
use std::error::Error;
use std::fs;
use std::path::Path;

use protox::prost_reflect::prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let mut files: Vec<String> = fs::read_dir("proto")?
        .map(|entry| entry.map(|e| e.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_, _>>()?;
    files.sort();
    let mut descriptors = protox::compile(&files, ["proto"])?;
    // The comments would be most of it, and nobody reads them there.
    descriptors.file.iter_mut().for_each(|file| file.source_code_info = None);
    let out = Path::new(&env::var("OUT_DIR")?).join("descriptors.bin");
    fs::write(out, descriptors.encode_to_vec())?;
    // `bytes` fields share the buffer a message was decoded from instead of copying it.
    prost_build::Config::new().bytes(["."]).compile_fds(descriptors)?;
    Ok(())
}
