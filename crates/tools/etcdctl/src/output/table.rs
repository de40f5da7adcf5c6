//! Tables of ASCII, as all of etcd's documentation shows them.

/// Headers in capitals and centred, cells to the right.
pub fn table(headers: &[&str], rows: &[Vec<String>]) -> String {
    let headers: Vec<String> =
        headers.iter().map(|header| header.to_uppercase().replace('_', " ")).collect();
    let width = |text: &str| text.chars().count();
    let widths: Vec<usize> = (0..headers.len())
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| width(cell));
            cells.chain([width(&headers[column])]).max().unwrap_or(0)
        })
        .collect();
    let rule: String = widths.iter().map(|width| format!("+{}", "-".repeat(width + 2))).collect();
    let rule = format!("{rule}+\n");
    let mut out = rule.clone();
    for (header, widest) in headers.iter().zip(&widths) {
        let spare = widest - width(header);
        let (left, right) = (" ".repeat(spare / 2), " ".repeat(spare - spare / 2));
        out.push_str(&format!("| {left}{header}{right} "));
    }
    out.push_str("|\n");
    out.push_str(&rule);
    for row in rows {
        for (cell, widest) in row.iter().zip(&widths) {
            out.push_str(&format!("| {cell:>widest$} "));
        }
        out.push_str("|\n");
    }
    if !rows.is_empty() {
        out.push_str(&rule);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn a_table_looks_as_the_documentation_shows_it() {
        let row = ["127.0.0.1:34369", "1533107944", "22"].map(str::to_owned).to_vec();
        assert_eq!(
            table(&["endpoint", "hash", "hash_revision"], &[row]),
            "\
+-----------------+------------+---------------+
|    ENDPOINT     |    HASH    | HASH REVISION |
+-----------------+------------+---------------+
| 127.0.0.1:34369 | 1533107944 |            22 |
+-----------------+------------+---------------+
"
        );
    }
}
