//! Bytes for people.

/// Bytes in powers of ten: `20 kB`, `2.1 GB`.
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

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_have_two_digits_or_more() {
        let sizes = [0, 9, 10, 999, 1000, 9999, 20480, 1_250_000, 2_147_483_648, u64::MAX];
        let texts = [
            "0 B", "9 B", "10 B", "999 B", "1.0 kB", "10 kB", "20 kB", "1.3 MB", "2.1 GB", "18 EB",
        ];
        assert_eq!(sizes.map(size), texts);
    }
}
