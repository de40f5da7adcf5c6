//! Small HTTP answers.

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use net::{HttpBody, whole};

fn answer(status: StatusCode, kind: &'static str, bytes: impl Into<Bytes>) -> Response<HttpBody> {
    let mut response = Response::new(whole(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// Nothing but a status.
pub(crate) fn empty(status: StatusCode) -> Response<HttpBody> {
    let mut response = Response::new(whole(Bytes::new()));
    *response.status_mut() = status;
    response
}

/// Plain text.
pub(crate) fn text(status: StatusCode, text: &str) -> Response<HttpBody> {
    answer(status, "text/plain; charset=utf-8", text.to_owned())
}

/// JSON.
pub(crate) fn json(json: String) -> Response<HttpBody> {
    answer(StatusCode::OK, "application/json", json)
}

/// A page of a kind of its own.
pub(crate) fn page(kind: &'static str, page: String) -> Response<HttpBody> {
    answer(StatusCode::OK, kind, page)
}

/// As Go's own server says it: a text, and no guessing at its type.
pub(crate) fn error(status: StatusCode, says: &str) -> Response<HttpBody> {
    let mut response = text(status, &format!("{says}\n"));
    let nosniff = HeaderValue::from_static("nosniff");
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}

/// Nothing is there.
pub(crate) fn not_found() -> Response<HttpBody> {
    error(StatusCode::NOT_FOUND, "404 page not found")
}

/// What is asked cannot be told, in the words of Go's server; nothing more is heard.
pub(crate) fn bad_request(wrong: &str) -> Response<HttpBody> {
    let mut response = text(StatusCode::BAD_REQUEST, &format!("400 Bad Request: {wrong}"));
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// It is elsewhere: ask there in the same way. A person with a browser gets a link to click.
pub(crate) fn moved(to: &str, asked: &Method) -> Response<HttpBody> {
    let shown = to
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&#34;")
        .replace('\'', "&#39;");
    let link = format!("<a href=\"{shown}\">Temporary Redirect</a>.\n\n");
    let mut response = if asked == Method::GET {
        answer(StatusCode::TEMPORARY_REDIRECT, "text/html; charset=utf-8", link)
    } else {
        empty(StatusCode::TEMPORARY_REDIRECT)
    };
    if let Ok(location) = HeaderValue::from_str(to) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// Only GET is.
pub(crate) fn only_get() -> Response<HttpBody> {
    let mut response = error(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET"));
    response
}

/// Something failed; `says` is followed by the empty line Go's error writer adds.
pub(crate) fn unavailable(says: &str) -> Response<HttpBody> {
    error(StatusCode::SERVICE_UNAVAILABLE, says)
}
