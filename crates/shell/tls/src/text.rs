//! How Go words what goes wrong in a handshake: operators search their logs for these texts.

use std::io;

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};
use x509_parser::time::ASN1Time;

/// What Go says of a connection whose other end is gone.
pub(crate) const END: &str = "EOF";

/// The texts of the usual errors of the system, as Go spells them.
pub(crate) fn io_text(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::UnexpectedEof => END.to_owned(),
        io::ErrorKind::ConnectionReset => "read: connection reset by peer".to_owned(),
        io::ErrorKind::TimedOut => "i/o timeout".to_owned(),
        _ => error.to_string(),
    }
}

/// Why a handshake failed, as Go's `crypto/tls` says it.
pub fn go_text(error: &io::Error) -> String {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<Error>());
    cause.map_or_else(|| io_text(error), tls_text)
}

pub(crate) fn tls_text(error: &Error) -> String {
    match error {
        Error::AlertReceived(alert) => format!("remote error: tls: {}", alert_text(*alert)),
        Error::NoCertificatesPresented => "tls: client didn't provide a certificate".to_owned(),
        Error::InvalidCertificate(why) => {
            format!("tls: failed to verify certificate: x509: {}", certificate_text(why))
        }
        Error::InvalidMessage(_) => {
            "tls: first record does not look like a TLS handshake".to_owned()
        }
        Error::PeerIncompatible(
            PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::SupportedVersionsExtensionRequired
            // Only versions before 1.2 do without it.
            | PeerIncompatible::SignatureAlgorithmsExtensionRequired,
        ) => "tls: client offered only unsupported versions".to_owned(),
        Error::PeerIncompatible(PeerIncompatible::NoKxGroupsInCommon) => {
            "tls: no key exchanges supported by both client and server".to_owned()
        }
        Error::PeerIncompatible(_) => "tls: no common version or cipher suite".to_owned(),
        other => format!("tls: {other}"),
    }
}

const OUT_OF_TIME: &str = "certificate has expired or is not yet valid";

/// A time as Go prints it: `2026-11-30T21:10:39Z`.
fn rfc3339(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    let Ok(time) = ASN1Time::from_timestamp(seconds) else { return seconds.to_string() };
    let time = time.to_datetime();
    let (year, month, day) = (time.year(), u8::from(time.month()), time.day());
    let (hour, minute, second) = (time.hour(), time.minute(), time.second());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

fn certificate_text(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer => "certificate signed by unknown authority".to_owned(),
        CertificateError::Expired | CertificateError::NotValidYet => OUT_OF_TIME.to_owned(),
        CertificateError::ExpiredContext { time, not_after } => {
            let (now, end) = (rfc3339(*time), rfc3339(*not_after));
            format!("{OUT_OF_TIME}: current time {now} is after {end}")
        }
        CertificateError::NotValidYetContext { time, not_before } => {
            let (now, begin) = (rfc3339(*time), rfc3339(*not_before));
            format!("{OUT_OF_TIME}: current time {now} is before {begin}")
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "certificate specifies an incompatible key usage".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "certificate is not valid for the name it was asked for".to_owned()
        }
        // What its library says when it meets a version it does not read.
        other if other.to_string().contains("UnsupportedCertVersion") => {
            "certificate is not of version 3: make it again with an extension".to_owned()
        }
        other => other.to_string(),
    }
}

/// The alerts, as Go names them.
fn alert_text(alert: AlertDescription) -> String {
    let text = match alert {
        AlertDescription::CertificateRequired => "certificate required",
        AlertDescription::UnknownCA => "unknown certificate authority",
        AlertDescription::BadCertificate => "bad certificate",
        AlertDescription::UnsupportedCertificate => "unsupported certificate",
        AlertDescription::CertificateRevoked => "revoked certificate",
        AlertDescription::CertificateExpired => "expired certificate",
        AlertDescription::CertificateUnknown => "unknown certificate",
        AlertDescription::AccessDenied => "access denied",
        AlertDescription::HandshakeFailure => "handshake failure",
        AlertDescription::ProtocolVersion => "protocol version not supported",
        AlertDescription::UnrecognisedName => "unrecognized name",
        AlertDescription::InternalError => "internal error",
        other => return format!("{other:?}"),
    };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_certificate_that_has_ended_is_told_with_both_times() {
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let ended = CertificateError::ExpiredContext { time: at(1_000_000_000), not_after: at(0) };
        assert_eq!(
            tls_text(&Error::InvalidCertificate(ended)),
            "tls: failed to verify certificate: x509: certificate has expired or is not yet valid: \
             current time 2001-09-09T01:46:40Z is after 1970-01-01T00:00:00Z"
        );
    }
}
