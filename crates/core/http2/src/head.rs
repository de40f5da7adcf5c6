//! What a request's headers say.

use std::rc::Rc;

use bytes::Bytes;

/// One header field. Names are in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: Bytes,
    /// Its value, which may be any bytes but line ends.
    pub value: Bytes,
}

impl Field {
    /// A field known when this is compiled.
    pub const fn from_static(name: &'static str, value: &'static str) -> Field {
        let name = Bytes::from_static(name.as_bytes());
        Field { name, value: Bytes::from_static(value.as_bytes()) }
    }
}

/// Header fields in the order in which they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(Vec<Field>);

impl Fields {
    /// The first value of a name.
    pub fn get(&self, name: &str) -> Option<&Bytes> {
        let found = self.0.iter().find(|field| field.name == name.as_bytes());
        found.map(|field| &field.value)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Field> {
        self.0.iter()
    }

    /// Adds a field at the end.
    pub fn push(&mut self, name: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.0.push(Field { name: name.into(), value: value.into() });
    }
}

/// The headers of a request, known to be well-formed (RFC 9113, 8.2 and 8.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// `:method`.
    pub method: Bytes,
    /// `:path`, as it came.
    pub path: Bytes,
    /// `:authority`.
    pub authority: Option<Bytes>,
    /// All but the pseudo headers.
    pub fields: Rc<Fields>,
    /// How many bytes of body the client says it sends.
    pub(crate) content_length: Option<u64>,
}

impl Head {
    /// Judges the fields of a request, pseudo headers first; `None` if they are malformed.
    pub fn new(all: Vec<Field>) -> Option<Head> {
        let pseudo = all.iter().take_while(|field| field.name.starts_with(b":")).count();
        let mut fields = all;
        let regular = fields.split_off(pseudo);
        let [mut method, mut scheme, mut path, mut authority] = [const { None }; 4];
        for Field { name, value } in fields {
            let slot = match &name[..] {
                b":method" => &mut method,
                b":scheme" => &mut scheme,
                b":path" => &mut path,
                b":authority" => &mut authority,
                _ => return None,
            };
            if slot.is_some() || !is_value(&value) {
                return None;
            }
            *slot = Some(value);
        }
        let content_length = content_length(&regular)?;
        scheme.filter(|scheme| !scheme.is_empty())?;
        Some(Head {
            method: method.filter(|method| !method.is_empty())?,
            path: path.filter(|path| !path.is_empty())?,
            authority,
            fields: Rc::new(Fields(regular)),
            content_length,
        })
    }
}

/// Whether these may end a request's body.
pub(crate) fn are_trailers(fields: &[Field]) -> bool {
    fields.iter().all(is_regular)
}

/// Judges what are no pseudo headers, and returns what they say of the body's length.
fn content_length(fields: &[Field]) -> Option<Option<u64>> {
    let mut length = None;
    for field in fields {
        if !is_regular(field) {
            return None;
        }
        if field.name == "content-length" {
            let text = std::str::from_utf8(&field.value).ok()?;
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let said: u64 = digits.then(|| text.parse().ok())??;
            if length.is_some_and(|length| length != said) {
                return None;
            }
            length = Some(said);
        }
    }
    Some(length)
}

fn is_regular(field: &Field) -> bool {
    let is_of_the_hop = match &field.name[..] {
        b"connection" | b"proxy-connection" | b"keep-alive" | b"transfer-encoding" | b"upgrade" => {
            true
        }
        b"te" => field.value != "trailers",
        _ => false,
    };
    is_name(&field.name) && is_value(&field.value) && !is_of_the_hop
}

fn is_name(name: &[u8]) -> bool {
    let is_allowed =
        |byte: &u8| matches!(byte, 0x21..=0x7e) && !byte.is_ascii_uppercase() && *byte != b':';
    !name.is_empty() && name.iter().all(is_allowed)
}

fn is_value(value: &[u8]) -> bool {
    !value.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: [(&str, &str); 3] = [(":method", "GET"), (":scheme", "http"), (":path", "/")];

    fn head(fields: &[(&'static str, &'static str)]) -> Option<Head> {
        Head::new(fields.iter().map(|(name, value)| Field::from_static(name, value)).collect())
    }

    #[test]
    fn a_request_needs_its_three_pseudo_headers_once_and_first() {
        assert!(head(&GET).is_some());
        for missing in 0..GET.len() {
            let mut fields = GET.to_vec();
            fields.remove(missing);
            assert_eq!(head(&fields), None);
        }
        assert_eq!(head(&[&GET[..], &[(":path", "/")]].concat()), None);
        assert_eq!(head(&[&[("a", "b")], &GET[..]].concat()), None);
        assert_eq!(head(&[&GET[..], &[(":status", "200")]].concat()), None);
        assert_eq!(head(&[GET[0], GET[1], (":path", "")]), None);
    }

    #[test]
    fn fields_of_the_hop_and_malformed_ones_make_a_request_malformed() {
        let with = |name, value| head(&[&GET[..], &[(name, value)]].concat());
        for name in ["connection", "upgrade", "transfer-encoding", "", "Token", "a b", "a:b"] {
            assert_eq!(with(name, "x"), None, "{name:?}");
        }
        assert_eq!(with("te", "gzip"), None);
        assert_eq!(with("a", "b\r\nc: d"), None);
        assert!(with("te", "trailers").is_some());
        let head = with("token", "\u{e9}").expect("well-formed");
        assert_eq!(head.fields.get("token").expect("there"), "\u{e9}");
    }

    #[test]
    fn a_length_is_a_number_and_said_once() {
        let with = |values: &[&'static str]| {
            let lengths: Vec<_> = values.iter().map(|value| ("content-length", *value)).collect();
            head(&[&GET[..], &lengths].concat()).map(|head| head.content_length)
        };
        assert_eq!(with(&[]), Some(None));
        assert_eq!(with(&["12"]), Some(Some(12)));
        assert_eq!(with(&["12", "12"]), Some(Some(12)));
        assert_eq!(with(&["12", "13"]), None);
        assert_eq!(with(&["+1"]), None);
        assert_eq!(with(&["99999999999999999999"]), None);
    }
}
