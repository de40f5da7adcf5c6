//! What is refused, with etcd's numbers and words (`docs/etcd/errors.md` 4).

/// Why a request of the API v2 was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {} ({cause}) [{index}]", code.number(), code.message())]
pub struct Error {
    /// What kind of refusal.
    pub code: Code,
    /// What it speaks of; empty for nothing.
    pub cause: String,
    /// The tree's index then; 0 where the tree was not asked.
    pub index: u64,
}

impl Error {
    /// A refusal at this index.
    pub fn new(code: Code, cause: impl Into<String>, index: u64) -> Error {
        Error { code, cause: cause.into(), index }
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $status:literal, $message:literal;)*) => {
        /// The kinds of refusal that etcd 3.4 makes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Code {
            $($(#[$doc])* $name,)*
        }

        impl Code {
            /// Its number in an answer.
            pub fn number(self) -> u16 {
                match self { $(Code::$name => $number,)* }
            }

            /// The HTTP status it travels with.
            pub fn status(self) -> u16 {
                match self { $(Code::$name => $status,)* }
            }

            /// Its words.
            pub fn message(self) -> &'static str {
                match self { $(Code::$name => $message,)* }
            }
        }
    };
}

codes! {
    /// There is no such node.
    KeyNotFound = 100, 404, "Key not found";
    /// A condition on value or index does not hold.
    TestFailed = 101, 412, "Compare failed";
    /// It is a directory.
    NotFile = 102, 403, "Not a file";
    /// A part of the path is a file.
    NotDir = 104, 400, "Not a directory";
    /// There is such a node already.
    NodeExist = 105, 412, "Key already exists";
    /// The root, which nobody changes.
    RootReadOnly = 107, 400, "Root is read only";
    /// Somebody else's children are in it.
    DirNotEmpty = 108, 403, "Directory not empty";
    /// The asker may not.
    Unauthorized = 110, 401, "The request requires user authentication";
    /// `prevValue` without a value.
    PrevValueRequired = 201, 400, "PrevValue is Required in POST form";
    /// `ttl` is no number.
    TtlNaN = 202, 400, "The given TTL in POST form is not a number";
    /// `prevIndex` or `waitIndex` is no number.
    IndexNaN = 203, 400, "The given index in POST form is not a number";
    /// A field's value has no meaning.
    InvalidField = 209, 400, "Invalid field";
    /// The form cannot be read.
    InvalidForm = 210, 400, "Invalid POST form";
    /// A refresh keeps the value, so it brings none.
    RefreshValue = 211, 400, "Value provided on refresh";
    /// A refresh is for the time to live.
    RefreshTtlRequired = 212, 400, "A TTL must be provided on refresh";
    /// The log did not take it.
    RaftInternal = 300, 500, "Raft Internal Error";
    /// Nobody leads.
    LeaderElect = 301, 500, "During Leader Election";
    /// What was waited for cannot come any more.
    WatcherCleared = 400, 400, "watcher is cleared due to etcd recovery";
    /// The history does not reach back so far.
    EventIndexCleared = 401, 400, "The event in requested index is outdated and cleared";
}
