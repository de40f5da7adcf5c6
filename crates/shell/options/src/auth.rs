//! How logins are remembered: the value of `--auth-token`.

use std::collections::BTreeMap;

use crate::note::Note;

/// What stands for a user between its login and its requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tokens {
    /// A random text that every member remembers for a while.
    Simple,
    /// A signed statement that no member remembers, with the options given for it.
    Jwt(BTreeMap<String, String>),
    /// Nothing: nobody can log in.
    None,
}

/// What etcd says to every value it cannot use.
pub const INVALID: &str = "auth: invalid auth options";

impl Tokens {
    /// Reads `kind,name=value,...`. Options of other kinds than `jwt` are passed over, as in etcd.
    ///
    /// # Errors
    /// What etcd logs of a kind nobody knows, an option without one value, or one that is there twice, before it ends
    /// with [`INVALID`].
    pub fn read(text: &str) -> Result<Tokens, Note> {
        let malformed = || Note::error("invalid token option").with("option", text);
        let mut parts = text.split(',');
        let kind = parts.next().unwrap_or_default();
        let mut options = BTreeMap::new();
        for part in parts {
            let (name, value) = part.split_once('=').ok_or_else(malformed)?;
            if value.contains('=') {
                return Err(malformed());
            }
            if options.insert(name.to_owned(), value.to_owned()).is_some() {
                return Err(malformed().with("duplicate-parameter", name));
            }
        }
        match kind {
            "simple" => Ok(Tokens::Simple),
            "jwt" => Ok(Tokens::Jwt(options)),
            "" => Ok(Tokens::None),
            _ => Err(Note::warn("unknown token type").with("type", kind).with("error", INVALID)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_have_one_value_and_come_once() {
        assert_eq!(Tokens::read("simple"), Ok(Tokens::Simple));
        assert_eq!(Tokens::read("simple,x=y"), Ok(Tokens::Simple));
        assert_eq!(Tokens::read(""), Ok(Tokens::None));
        let jwt = Tokens::read("jwt,sign-method=RS256,ttl=");
        let options = [("sign-method", "RS256"), ("ttl", "")];
        let options = options.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(jwt, Ok(Tokens::Jwt(options.into())));
        for bad in ["jwt,x", "jwt,a=b=c", "simple,"] {
            let malformed = Note::error("invalid token option").with("option", bad);
            assert_eq!(Tokens::read(bad), Err(malformed), "{bad}");
        }
        let twice = Note::error("invalid token option").with("option", "jwt,a=b,a=b");
        assert_eq!(Tokens::read("jwt,a=b,a=b"), Err(twice.with("duplicate-parameter", "a")));
        for bad in ["foo", "Simple"] {
            let unknown = Note::warn("unknown token type").with("type", bad);
            assert_eq!(Tokens::read(bad), Err(unknown.with("error", INVALID)), "{bad}");
        }
    }
}
