//! Refusals as HTTP: a status, and a body in JSON (`docs/etcd/http.md` 3.3).

use http::StatusCode;
use types::{Code, Refusal};

use crate::print::print_text;

/// The HTTP status of a gRPC code.
pub fn http_status(code: Code) -> StatusCode {
    let status = match code {
        Code::Ok => 200,
        Code::Canceled => 499,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => 400,
        Code::DeadlineExceeded => 504,
        Code::NotFound => 404,
        Code::AlreadyExists | Code::Aborted => 409,
        Code::PermissionDenied => 403,
        Code::Unauthenticated => 401,
        Code::ResourceExhausted => 429,
        Code::Unimplemented => 501,
        Code::Unavailable => 503,
        Code::Unknown | Code::Internal | Code::DataLoss => 500,
    };
    StatusCode::from_u16(status).expect("all of these are statuses")
}

/// Appends `{"code":3,"message":"..."}`.
pub fn print_error(refusal: &Refusal, out: &mut String) {
    use std::fmt::Write;
    write!(out, "{{\"code\":{},\"message\":", refusal.code() as u8).expect("into memory");
    print_text(refusal.message(), out);
    out.push('}');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_a_code_and_a_message() {
        let mut out = String::new();
        print_error(&Refusal::invalid("not \"this\""), &mut out);
        assert_eq!(out, "{\"code\":3,\"message\":\"not \\\"this\\\"\"}");
    }

    #[test]
    fn every_code_has_its_status() {
        let statuses: Vec<u16> = Code::ALL.iter().map(|code| http_status(*code).as_u16()).collect();
        let expected =
            [200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401];
        assert_eq!(statuses, expected);
    }
}
