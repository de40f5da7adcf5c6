//! Errors in Go's words.

use std::error::Error;
use std::io;

/// An error of the system in Go's words: `no such file or directory`.
pub fn io_text(error: &io::Error) -> String {
    if error.raw_os_error().is_some() {
        let whole = error.to_string();
        let text = whole.split(" (os error ").next().unwrap_or(&whole);
        // Go's table is the C library's, but for the first letter.
        let mut letters = text.chars();
        let first = letters.next().map(|letter| letter.to_ascii_lowercase());
        return first.into_iter().chain(letters).collect();
    }
    match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::AlreadyExists => "file exists".to_owned(),
        io::ErrorKind::IsADirectory => "is a directory".to_owned(),
        io::ErrorKind::NotADirectory => "not a directory".to_owned(),
        io::ErrorKind::StorageFull => "no space left on device".to_owned(),
        io::ErrorKind::UnexpectedEof => "unexpected EOF".to_owned(),
        _ => error.to_string(),
    }
}

/// An error with all its causes in one line, as Go's wrapped errors print.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_errors_begin_small_and_have_no_number() {
        let text = |number| io_text(&io::Error::from_raw_os_error(number));
        assert_eq!(text(2), "no such file or directory");
        assert_eq!(text(27), "file too large");
        assert_eq!(text(24), "too many open files");
        assert_eq!(text(111), "connection refused");
        assert_eq!(io_text(&io::ErrorKind::AlreadyExists.into()), "file exists");
        assert_eq!(io_text(&io::Error::other("odd")), "odd");
    }
}
