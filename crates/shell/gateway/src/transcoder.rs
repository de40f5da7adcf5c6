//! The table of paths with the shapes behind it: JSON in, protobuf out, and back.

use std::collections::HashMap;

use proto::Rpc;
use types::{Code, Refusal};

use crate::paths::PATHS;
use crate::schema::{Schema, Shape};
use crate::{print, read};

/// Knows every path and the messages that go with it.
#[derive(Debug)]
pub struct Transcoder {
    schema: Schema,
    by_path: HashMap<&'static str, Target>,
}

/// What a path leads to.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The method.
    pub method: Rpc,
    shape: Shape,
}

impl Default for Transcoder {
    fn default() -> Transcoder {
        let methods: Vec<&str> = PATHS.iter().map(|(_, rpc)| rpc.path()).collect();
        let (schema, shapes) = Schema::of(proto::DESCRIPTORS, &methods);
        let targets = PATHS.iter().zip(shapes);
        let by_path =
            targets.map(|(&(path, method), shape)| (path, Target { method, shape })).collect();
        Transcoder { schema, by_path }
    }
}

impl Transcoder {
    /// The method at a path; `/v3beta` means `/v3`.
    pub fn target(&self, path: &str) -> Option<Target> {
        match path.strip_prefix("/v3beta/") {
            Some(rest) => self.by_path.get(format!("/v3/{rest}").as_str()).copied(),
            None => self.by_path.get(path).copied(),
        }
    }

    /// A request's JSON, which must be well-formed, as protobuf.
    ///
    /// # Errors
    /// InvalidArgument, in the words of Go's `protojson`.
    pub fn request(&self, target: Target, json: &[u8]) -> Result<Vec<u8>, Refusal> {
        read::read(&self.schema, target.shape.input, json).map_err(Refusal::invalid)
    }

    /// Appends an answer's protobuf as JSON.
    ///
    /// # Errors
    /// Internal, when the answer is none.
    pub fn answer(&self, target: Target, wire: &[u8], out: &mut String) -> Result<(), Refusal> {
        print::print(&self.schema, target.shape.output, wire, out).map_err(|print::Malformed| {
            let text = format!("the answer of {} is malformed", target.method);
            Refusal::Other(Code::Internal, text.into())
        })
    }
}
