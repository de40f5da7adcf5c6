//! The shape of messages: what a field is called, which number it has, what it holds.
//!
//! Made once from the descriptors that `proto` exports. Only what the gateway's methods can reach is
//! taken in, and all of that is made of a few kinds of fields: no maps, groups or floats.

use std::collections::BTreeMap;

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet};

/// Where a message's shape lies in its [`Schema`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageId(usize);

/// Where an enumeration lies in its [`Schema`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnumId(usize);

/// What a method takes and answers.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// The request.
    pub input: MessageId,
    /// The answer.
    pub output: MessageId,
}

/// The shapes of all messages somebody asked for.
#[derive(Debug)]
pub struct Schema {
    messages: Vec<Message>,
    enums: Vec<Enumeration>,
}

/// The shape of a message.
#[derive(Debug, Default)]
pub struct Message {
    /// In the order of their declaration, which is the order they are printed in.
    pub fields: Vec<Field>,
    /// Full names, by index.
    pub oneofs: Vec<String>,
    by_number: BTreeMap<u32, usize>,
    by_name: BTreeMap<String, usize>,
}

/// One field.
#[derive(Debug)]
pub struct Field {
    /// As declared: `range_end`.
    pub name: String,
    /// In lower camel case: `rangeEnd`.
    pub json_name: String,
    /// On the wire.
    pub number: u32,
    /// What it holds.
    pub kind: Kind,
    /// Whether there may be many.
    pub is_repeated: bool,
    /// Which oneof it belongs to, as an index into [`Message::oneofs`].
    pub oneof: Option<usize>,
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are protobuf's own")]
pub enum Kind {
    Bool,
    Int32,
    Int64,
    Uint32,
    Uint64,
    String,
    Bytes,
    Enum(EnumId),
    Message(MessageId),
}

/// The values of an enumeration.
#[derive(Debug, Default)]
pub struct Enumeration {
    by_name: BTreeMap<String, i32>,
    by_number: BTreeMap<i32, String>,
}

impl Kind {
    /// As protobuf calls it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Bool => "bool",
            Kind::Int32 => "int32",
            Kind::Int64 => "int64",
            Kind::Uint32 => "uint32",
            Kind::Uint64 => "uint64",
            Kind::String => "string",
            Kind::Bytes => "bytes",
            Kind::Enum(_) => "enum",
            Kind::Message(_) => "message",
        }
    }
}

impl Message {
    /// The field with this number.
    pub fn field_numbered(&self, number: u32) -> Option<usize> {
        self.by_number.get(&number).copied()
    }

    /// The field with this name, as declared or in camel case.
    pub fn field_named(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }
}

impl Enumeration {
    /// The number of a name.
    pub fn number(&self, name: &str) -> Option<i32> {
        self.by_name.get(name).copied()
    }

    /// The name of a number.
    pub fn name(&self, number: i32) -> Option<&str> {
        self.by_number.get(&number).map(String::as_str)
    }
}

impl Schema {
    /// The shapes of these methods, `/package.Service/Method`, in the same order.
    ///
    /// # Panics
    /// When the descriptors are not those of a build that knows the methods.
    pub fn of(descriptors: &[u8], methods: &[&str]) -> (Schema, Vec<Shape>) {
        let set = FileDescriptorSet::decode(descriptors).expect("made by our own build");
        let mut reader = Reader::new(&set);
        let shapes = methods.iter().map(|path| reader.method(path)).collect();
        (reader.schema, shapes)
    }

    /// The shape of a message.
    pub fn message(&self, id: MessageId) -> &Message {
        &self.messages[id.0]
    }

    /// The values of an enumeration.
    pub fn enumeration(&self, id: EnumId) -> &Enumeration {
        &self.enums[id.0]
    }
}

/// Takes in what is reachable from the methods asked for.
struct Reader<'a> {
    set: &'a FileDescriptorSet,
    messages: BTreeMap<String, &'a DescriptorProto>,
    enums: BTreeMap<String, &'a EnumDescriptorProto>,
    messages_read: BTreeMap<String, MessageId>,
    enums_read: BTreeMap<String, EnumId>,
    schema: Schema,
}

impl<'a> Reader<'a> {
    fn new(set: &'a FileDescriptorSet) -> Reader<'a> {
        let mut reader = Reader {
            set,
            messages: BTreeMap::new(),
            enums: BTreeMap::new(),
            messages_read: BTreeMap::new(),
            enums_read: BTreeMap::new(),
            schema: Schema { messages: Vec::new(), enums: Vec::new() },
        };
        for file in &set.file {
            reader.list(&format!(".{}", file.package()), &file.message_type, &file.enum_type);
        }
        reader
    }

    /// Lists messages and enumerations by their full names, nested ones too.
    fn list(
        &mut self,
        within: &str,
        messages: &'a [DescriptorProto],
        enums: &'a [EnumDescriptorProto],
    ) {
        for found in enums {
            self.enums.insert(format!("{within}.{}", found.name()), found);
        }
        for found in messages {
            let name = format!("{within}.{}", found.name());
            self.list(&name, &found.nested_type, &found.enum_type);
            self.messages.insert(name, found);
        }
    }

    fn method(&mut self, path: &str) -> Shape {
        let services = self.set.file.iter().flat_map(|file| {
            let package = file.package();
            file.service.iter().map(move |service| (package, service))
        });
        let mut methods = services.flat_map(|(package, service)| {
            service.method.iter().map(move |m| (package, service.name(), m))
        });
        let (_, _, method) = methods
            .find(|(package, service, m)| format!("/{package}.{service}/{}", m.name()) == path)
            .unwrap_or_else(|| panic!("no descriptor declares {path}"));
        Shape {
            input: self.message(method.input_type()),
            output: self.message(method.output_type()),
        }
    }

    fn message(&mut self, name: &str) -> MessageId {
        if let Some(&id) = self.messages_read.get(name) {
            return id;
        }
        // The place is taken before the fields are read, because a message may contain itself.
        let id = MessageId(self.schema.messages.len());
        self.schema.messages.push(Message::default());
        self.messages_read.insert(name.to_owned(), id);
        let declared = self.messages[name];
        let mut message = Message::default();
        let full_name = name.trim_start_matches('.');
        message.oneofs =
            declared.oneof_decl.iter().map(|o| format!("{full_name}.{}", o.name())).collect();
        for (index, field) in declared.field.iter().enumerate() {
            let field = self.field(name, field);
            message.by_number.insert(field.number, index);
            message.by_name.insert(field.name.clone(), index);
            message.by_name.insert(field.json_name.clone(), index);
            message.fields.push(field);
        }
        self.schema.messages[id.0] = message;
        id
    }

    fn field(&mut self, message: &str, declared: &FieldDescriptorProto) -> Field {
        let kind = match declared.r#type() {
            Type::Bool => Kind::Bool,
            Type::Int32 => Kind::Int32,
            Type::Int64 => Kind::Int64,
            Type::Uint32 => Kind::Uint32,
            Type::Uint64 => Kind::Uint64,
            Type::String => Kind::String,
            Type::Bytes => Kind::Bytes,
            Type::Enum => Kind::Enum(self.enumeration(declared.type_name())),
            Type::Message => Kind::Message(self.message(declared.type_name())),
            other => panic!("{message} has a field of the kind {other:?}"),
        };
        Field {
            name: declared.name().to_owned(),
            json_name: camel(declared.name()),
            number: declared.number().try_into().expect("field numbers are positive"),
            kind,
            is_repeated: declared.label() == Label::Repeated,
            oneof: declared.oneof_index.map(|i| i.try_into().expect("an index")),
        }
    }

    fn enumeration(&mut self, name: &str) -> EnumId {
        if let Some(&id) = self.enums_read.get(name) {
            return id;
        }
        let mut read = Enumeration::default();
        for value in &self.enums[name].value {
            read.by_name.insert(value.name().to_owned(), value.number());
            // Of two names for a number the first one is printed.
            read.by_number.entry(value.number()).or_insert_with(|| value.name().to_owned());
        }
        let id = EnumId(self.schema.enums.len());
        self.schema.enums.push(read);
        self.enums_read.insert(name.to_owned(), id);
        id
    }
}

/// `range_end` as `rangeEnd`; `peerURLs` stays.
fn camel(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut raise = false;
    for letter in name.chars() {
        match letter {
            '_' => raise = true,
            _ if raise => {
                out.push(letter.to_ascii_uppercase());
                raise = false;
            }
            _ => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_in_both_spellings() {
        let (schema, shapes) = Schema::of(proto::DESCRIPTORS, &["/etcdserverpb.KV/Range"]);
        let range = schema.message(shapes[0].input);
        let field = range.field_named("range_end").expect("declared");
        assert_eq!(range.field_named("rangeEnd"), Some(field));
        assert_eq!(range.field_numbered(2), Some(field));
        assert_eq!(range.fields[field].kind, Kind::Bytes);
        assert_eq!(camel("peerURLs"), "peerURLs");
        assert_eq!(camel("ID"), "ID");
    }

    #[test]
    fn a_message_may_contain_itself() {
        let (schema, shapes) = Schema::of(proto::DESCRIPTORS, &["/etcdserverpb.KV/Txn"]);
        let txn = schema.message(shapes[0].input);
        let success = &txn.fields[txn.field_named("success").expect("declared")];
        assert!(success.is_repeated);
        let Kind::Message(op) = success.kind else { panic!("{:?}", success.kind) };
        let op = schema.message(op);
        assert_eq!(op.oneofs, ["etcdserverpb.RequestOp.request"]);
        let nested = &op.fields[op.field_named("requestTxn").expect("declared")];
        assert_eq!(nested.kind, Kind::Message(shapes[0].input));
    }
}
