//! Go's ways of writing and reading: quoted text, durations, numbers, sizes.

pub mod duration;
pub mod number;
pub mod quote;

/// Bytes for people, in powers of ten: `20 kB`, `2.1 GB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 10 {
        return format!("{bytes} B");
    }
    let mut power = 0;
    let mut scale: f64 = 1.0;
    while bytes as f64 / scale >= 1000.0 && power + 1 < UNITS.len() {
        power += 1;
        scale *= 1000.0;
    }
    let value = (bytes as f64 / scale * 10.0 + 0.5).floor() / 10.0;
    let unit = UNITS[power];
    if value < 10.0 { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") }
}

/// An error of the system in the words Go uses for the usual ones.
pub fn io_text(error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::NotFound => "no such file or directory".to_owned(),
        ErrorKind::PermissionDenied => "permission denied".to_owned(),
        ErrorKind::AlreadyExists => "file exists".to_owned(),
        ErrorKind::IsADirectory => "is a directory".to_owned(),
        ErrorKind::NotADirectory => "not a directory".to_owned(),
        ErrorKind::StorageFull => "no space left on device".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_have_two_digits_or_more() {
        let sizes = [0, 9, 10, 999, 1000, 20480, 2_147_483_648, 16_384];
        let texts = ["0 B", "9 B", "10 B", "999 B", "1.0 kB", "20 kB", "2.1 GB", "16 kB"];
        assert_eq!(sizes.map(size), texts);
    }
}
