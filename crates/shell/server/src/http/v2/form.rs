//! What a client wants, from its query and its form, in the order in which Go and etcd find fault with them.

use http::{Method, Request, header};
use net::HttpBody;
use v2::{Code, Error};

/// Fields in the order of their appearance: those of the body first.
#[derive(Debug, Default)]
pub(super) struct Form(Vec<(String, String)>);

/// The methods whose bodies are forms.
const WITH_BODY: [Method; 2] = [Method::PUT, Method::POST];

impl Form {
    /// Reads a request's query, and its body of at most `bytes_max` bytes.
    ///
    /// # Errors
    /// It is none.
    pub(super) async fn read(request: Request<HttpBody>, bytes_max: usize) -> Result<Form, Error> {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let is_form = WITH_BODY.contains(request.method()) && says_form(&request);
        let mut form = Form::default();
        let mut fault = None;
        if is_form {
            let body = read_body(request.into_body(), bytes_max).await?;
            form.add(&body, &mut fault);
        }
        form.add(query.as_bytes(), &mut fault);
        match fault {
            Some(cause) => Err(invalid(Code::InvalidForm, cause)),
            None => Ok(form),
        }
    }

    fn add(&mut self, text: &[u8], fault: &mut Option<String>) {
        for field in text.split(|byte| *byte == b'&').filter(|field| !field.is_empty()) {
            if field.contains(&b';') {
                fault.get_or_insert_with(|| "invalid semicolon separator in query".to_owned());
                continue;
            }
            let at = field.iter().position(|byte| *byte == b'=').unwrap_or(field.len());
            let value = field.get(at + 1..).unwrap_or_default();
            match (unescaped(&field[..at]), unescaped(value)) {
                (Ok(name), Ok(value)) => self.0.push((name, value)),
                (Err(cause), _) | (_, Err(cause)) => drop(fault.get_or_insert(cause)),
            }
        }
    }

    /// The first value of this name, if the name is there.
    fn field(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(there, _)| there == name).map(|(_, value)| value.as_str())
    }

    fn text(&self, name: &str) -> &str {
        self.field(name).unwrap_or_default()
    }

    fn number(&self, name: &str, code: Code) -> Result<u64, Error> {
        let Some(text) = self.field(name) else { return Ok(0) };
        go::number::parse_uint(text, 10)
            .map_err(|_| invalid(code, format!("invalid value for \"{name}\"")))
    }

    fn truth(&self, name: &str) -> Result<bool, Error> {
        let Some(text) = self.field(name) else { return Ok(false) };
        let cause = || invalid(Code::InvalidField, format!("invalid value for \"{name}\""));
        go::number::truth(text).ok_or_else(cause)
    }

    /// A truth that may be left open. Of these two etcd 3.4 leaves the quotes away.
    fn open_truth(&self, name: &str) -> Result<Option<bool>, Error> {
        let Some(text) = self.field(name) else { return Ok(None) };
        let cause = || invalid(Code::InvalidField, format!("invalid value for {name}"));
        go::number::truth(text).map(Some).ok_or_else(cause)
    }
}

fn invalid(code: Code, cause: impl Into<String>) -> Error {
    Error::new(code, cause, 0)
}

fn says_form(request: &Request<HttpBody>) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default();
    kind.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

/// A body, whole.
pub(super) async fn read_body(mut body: HttpBody, bytes_max: usize) -> Result<Vec<u8>, Error> {
    let mut whole = Vec::new();
    while let Some(frame) = std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await
    {
        let frame = frame.map_err(|error| invalid(Code::InvalidForm, error.to_string()))?;
        // What is no data is trailers.
        let Ok(data) = frame.into_data() else { continue };
        if bytes_max < whole.len() + data.len() {
            return Err(invalid(Code::InvalidForm, "http: POST too large"));
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole)
}

fn unescaped(text: &[u8]) -> Result<String, String> {
    let (mut out, mut at) = (Vec::with_capacity(text.len()), 0);
    while at < text.len() {
        match text[at] {
            b'+' => out.push(b' '),
            b'%' => {
                let digits =
                    text.get(at + 1..at + 3).filter(|two| two.iter().all(u8::is_ascii_hexdigit));
                let digits = digits.and_then(|two| std::str::from_utf8(two).ok());
                let Some(byte) = digits.and_then(|two| u8::from_str_radix(two, 16).ok()) else {
                    let wrong = &text[at..text.len().min(at + 3)];
                    return Err(format!("invalid URL escape {}", go::quote(wrong)));
                };
                out.push(byte);
                at += 2;
            }
            byte => out.push(byte),
        }
        at += 1;
    }
    // A value that is no text cannot be answered as JSON either; etcd stores it and answers so.
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// What a client wants of a key.
#[derive(Debug, PartialEq)]
pub(super) struct Wanted {
    pub(super) value: String,
    pub(super) dir: bool,
    pub(super) previous_value: String,
    pub(super) previous_index: u64,
    pub(super) previous_exists: Option<bool>,
    /// Seconds to live; `None` for no end.
    pub(super) ttl: Option<u64>,
    pub(super) wait: bool,
    pub(super) since: u64,
    pub(super) recursive: bool,
    pub(super) quorum: bool,
    pub(super) stream: bool,
    pub(super) refresh: bool,
    /// Leave the nodes out of the answer to a write.
    pub(super) bare: bool,
}

impl Wanted {
    /// # Errors
    /// A field has no meaning, or does not go with the others.
    pub(super) fn of(form: &Form, method: &Method) -> Result<Wanted, Error> {
        let previous_index = form.number("prevIndex", Code::IndexNaN)?;
        let since = form.number("waitIndex", Code::IndexNaN)?;
        let recursive = form.truth("recursive")?;
        form.truth("sorted")?;
        let wait = form.truth("wait")?;
        let dir = form.truth("dir")?;
        let quorum = form.truth("quorum")?;
        let stream = form.truth("stream")?;
        if wait && method != Method::GET {
            let cause = "\"wait\" can only be used with GET requests";
            return Err(invalid(Code::InvalidField, cause));
        }
        let previous_value = form.text("prevValue").to_owned();
        if form.field("prevValue").is_some() && previous_value.is_empty() {
            return Err(invalid(Code::PrevValueRequired, "\"prevValue\" cannot be empty"));
        }
        let bare = form.truth("noValueOnSuccess")?;
        let ttl = match form.text("ttl") {
            "" => None,
            _ => Some(form.number("ttl", Code::TtlNaN)?),
        };
        let previous_exists = form.open_truth("prevExist")?;
        let refresh = form.open_truth("refresh")?.unwrap_or(false);
        let value = form.text("value").to_owned();
        if refresh && !value.is_empty() {
            let cause = "A value was provided on a refresh";
            return Err(invalid(Code::RefreshValue, cause));
        }
        if refresh && ttl.is_none() {
            return Err(invalid(Code::RefreshTtlRequired, "No TTL value set"));
        }
        Ok(Wanted {
            value,
            dir,
            previous_value,
            previous_index,
            previous_exists,
            ttl,
            wait,
            since,
            recursive,
            quorum,
            stream,
            refresh,
            bare,
        })
    }

    /// When it ends, from a time to live that begins now; 0 for never.
    pub(super) fn ends(&self, now: v2::UnixNanos) -> v2::UnixNanos {
        // As Go's numbers go around: a time to live of centuries is somebody's mistake.
        let left = |ttl: u64| (ttl as i64).wrapping_mul(1_000_000_000);
        self.ttl.map_or(0, |ttl| now.wrapping_add(left(ttl)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(text: &str) -> Result<Form, String> {
        let (mut form, mut fault) = (Form::default(), None);
        form.add(text.as_bytes(), &mut fault);
        fault.map_or(Ok(form), Err)
    }

    #[track_caller]
    fn wrong(text: &str, code: u16, cause: &str) {
        let form = form(text).expect("it is a form");
        let error = Wanted::of(&form, &Method::PUT).expect_err("it has no meaning");
        assert_eq!((error.code.number(), error.cause.as_str(), error.index), (code, cause, 0));
    }

    #[test]
    fn a_form_is_read_as_go_reads_it() {
        let read = form("a=1&&b=x+y%2fz&c&a=2&=n").expect("it is a form");
        let fields: Vec<_> = read.0.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(fields, [("a", "1"), ("b", "x y/z"), ("c", ""), ("a", "2"), ("", "n")]);
        assert_eq!(read.field("a"), Some("1"));
        assert_eq!(form("a=%zz").unwrap_err(), "invalid URL escape \"%zz\"");
        assert_eq!(form("a=%4").unwrap_err(), "invalid URL escape \"%4\"");
        assert_eq!(form("a;b").unwrap_err(), "invalid semicolon separator in query");
    }

    #[test]
    fn a_field_without_meaning_is_refused_in_etcds_words() {
        wrong("prevIndex=x", 203, "invalid value for \"prevIndex\"");
        wrong("waitIndex=-1", 203, "invalid value for \"waitIndex\"");
        wrong("ttl=+1", 202, "invalid value for \"ttl\"");
        wrong("recursive=yes", 209, "invalid value for \"recursive\"");
        wrong("prevExist=yes", 209, "invalid value for prevExist");
        wrong("wait=true", 209, "\"wait\" can only be used with GET requests");
        wrong("prevValue=", 201, "\"prevValue\" cannot be empty");
        wrong("refresh=true&value=x&ttl=1", 211, "A value was provided on a refresh");
        wrong("refresh=true", 212, "No TTL value set");
    }
}
