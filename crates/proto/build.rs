//! Turns `proto/*.proto` into Rust at build time. protox reads the files in Rust itself, so no
//! protoc is needed on a fresh machine. Beside the messages it writes a table of their shapes, from
//! which `lenient` knows what may stand in which field.

use std::collections::BTreeMap;
use std::env;
use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use protox::prost_reflect::prost::Message;
use protox::prost_reflect::{DescriptorPool, Kind, MessageDescriptor};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let mut files: Vec<String> = fs::read_dir("proto")?
        .map(|entry| entry.map(|e| e.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_, _>>()?;
    files.sort();
    let mut descriptors = protox::compile(&files, ["proto"])?;
    // The comments would be most of it, and nobody reads them there.
    descriptors.file.iter_mut().for_each(|file| file.source_code_info = None);
    let folder = env::var("OUT_DIR")?;
    let out = Path::new(&folder).join("descriptors.bin");
    let encoded = descriptors.encode_to_vec();
    let shapes = shapes(&DescriptorPool::decode(encoded.as_slice())?)?;
    fs::write(Path::new(&folder).join("shapes.rs"), shapes)?;
    fs::write(out, encoded)?;
    // `bytes` fields share the buffer a message was decoded from instead of copying it.
    prost_build::Config::new().bytes(["."]).enable_type_names().compile_fds(descriptors)?;
    Ok(())
}

/// The source of `SHAPES`: (full name, fields by number) for each message, sorted by name.
fn shapes(pool: &DescriptorPool) -> Result<String, Box<dyn Error>> {
    let messages: BTreeMap<String, MessageDescriptor> =
        pool.all_messages().map(|message| (message.full_name().to_string(), message)).collect();
    let places: BTreeMap<&str, usize> =
        messages.keys().enumerate().map(|(place, name)| (name.as_str(), place)).collect();
    let mut source = String::from("static SHAPES: &[(&str, &[Field])] = &[\n");
    for (name, message) in &messages {
        writeln!(source, "({name:?}, &[")?;
        // `fields` goes by number.
        for field in message.fields() {
            let (wire, inner) = match field.kind() {
                Kind::Fixed64 | Kind::Sfixed64 | Kind::Double => (1, None),
                Kind::Message(inner) => (2, Some(places[inner.full_name()])),
                Kind::String | Kind::Bytes => (2, None),
                Kind::Fixed32 | Kind::Sfixed32 | Kind::Float => (5, None),
                _ => (0, None),
            };
            let packable = field.is_list() && wire != 2;
            let number = field.number();
            writeln!(
                source,
                "Field {{ number: {number}, wire: {wire}, packable: {packable}, inner: {inner:?} }},"
            )?;
        }
        source.push_str("]),\n");
    }
    source.push_str("];\n");
    Ok(source)
}
