//! The little program that both servers run: what is answered follows from the request alone.

use bytes::Bytes;

/// What a request's path asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// The answer begins at once, and says at the end what the request was.
    Echo,
    /// When the request is over, so many bytes.
    Bytes(usize),
    /// When the request is over, headers that are all.
    Bare,
    /// The whole answer at once, whatever the client still has to say.
    Early,
    /// A reset at once, with this code.
    Reset(u32),
}

impl Plan {
    /// What is asked for, as paths.
    pub(crate) const PATHS: [&str; 9] = [
        "/echo",
        "/echo?with=a%20query",
        "/bytes/0",
        "/bytes/1",
        "/bytes/20000",
        "/bytes/70000",
        "/bare",
        "/early",
        "/reset/8",
    ];

    pub(crate) fn of(path: &str) -> Plan {
        let number = |text: &str| text.parse().expect("a number");
        if let Some(bytes) = path.strip_prefix("/bytes/") {
            Plan::Bytes(number(bytes))
        } else if let Some(code) = path.strip_prefix("/reset/") {
            Plan::Reset(number(code) as u32)
        } else {
            match path {
                "/bare" => Plan::Bare,
                "/early" => Plan::Early,
                _ => Plan::Echo,
            }
        }
    }
}

/// A request as the program sees it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    pub method: String,
    pub authority: Option<String>,
    pub path: String,
    /// Names and values; the order of different names is nobody's business.
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    pub(crate) fn plan(&self) -> Plan {
        Plan::of(&self.path)
    }

    /// What was asked, in words.
    pub(crate) fn echo(&self) -> Bytes {
        let mut fields = self.fields.clone();
        fields.sort_by(|one, other| one.0.cmp(&other.0));
        let (length, sum) = (self.body.len(), crc32c::crc32c(&self.body));
        let Request { method, authority, path, .. } = self;
        format!("{method} {authority:?} {path} {fields:?} {length} {sum:08x}").into()
    }
}

/// The bytes of [`Plan::Bytes`].
pub(crate) fn bytes(count: usize) -> Bytes {
    (0..count).map(|at| (at % 251) as u8).collect()
}
