//! Turns `proto/*.proto` into Rust at build time. protox reads the files in Rust itself, so no
//! protoc is needed on a fresh machine. Beside the messages it writes a table of their shapes, from
//! which `lenient` knows what may stand in which field, and the list of all methods.

#![allow(clippy::disallowed_methods, reason = "a build script reads and writes files")]

use std::collections::BTreeMap;
use std::env;
use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use protox::prost_reflect::prost::Message;
use protox::prost_reflect::{DescriptorPool, Kind, MessageDescriptor, MethodDescriptor};

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
    let pool = DescriptorPool::decode(encoded.as_slice())?;
    fs::write(Path::new(&folder).join("shapes.rs"), shapes(&pool)?)?;
    fs::write(Path::new(&folder).join("rpcs.rs"), rpcs(&pool)?)?;
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
    let mut source = String::from("pub(crate) static SHAPES: &[(&str, &[Field])] = &[\n");
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

/// The source of `Rpc`, its `ALL` and `DESCRIBED`, sorted by path.
fn rpcs(pool: &DescriptorPool) -> Result<String, Box<dyn Error>> {
    let methods: BTreeMap<String, MethodDescriptor> = pool
        .services()
        .flat_map(|service| service.methods().collect::<Vec<_>>())
        .map(|method| {
            (format!("/{}/{}", method.parent_service().full_name(), method.name()), method)
        })
        .collect();
    let (mut variants, mut all, mut described) = (String::new(), String::new(), String::new());
    for (path, method) in &methods {
        let (service, name) = (method.parent_service(), method.name());
        let variant = variant(service.name(), name);
        let kind = match (method.is_client_streaming(), method.is_server_streaming()) {
            (false, false) => "Unary",
            (false, true) => "ServerStream",
            (true, true) => "Bidi",
            (true, false) => return Err(format!("{path}: nobody serves calls of this kind").into()),
        };
        writeln!(variants, "#[doc = \"`{path}`\"]\n{variant},")?;
        writeln!(all, "Rpc::{variant},")?;
        let service = service.full_name();
        writeln!(
            described,
            "Described {{ path: {path:?}, service: {service:?}, name: {name:?}, kind: Kind::{kind} }},"
        )?;
    }
    let count = methods.len();
    Ok(format!(
        "/// A method of a service.\n\
         #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]\n\
         pub enum Rpc {{\n{variants}}}\n\
         impl Rpc {{\n\
         /// All methods, sorted by path.\n\
         pub const ALL: [Rpc; {count}] = [\n{all}];\n}}\n\
         static DESCRIBED: [Described; {count}] = [\n{described}];\n"
    ))
}

/// `KV` and `HashKV` as `Kv…` and `…HashKv`; a service whose name its method repeats is left out.
fn variant(service: &str, method: &str) -> String {
    let service = if method.starts_with(service) { "" } else { service };
    format!("{service}{method}").replace("KV", "Kv")
}
