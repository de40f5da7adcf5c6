//! The nearest right word to a mistyped one.

/// How many letters may be wrong.
const DISTANCE_MAX: usize = 2;

/// The words that may have been meant, in their order.
pub fn nearest<'a>(typed: &str, words: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let typed = typed.to_lowercase();
    let near = |word: &&str| {
        let word = word.to_lowercase();
        distance(&typed, &word) <= DISTANCE_MAX || (!typed.is_empty() && word.starts_with(&typed))
    };
    words.into_iter().filter(near).collect()
}

/// Levenshtein's: letters added, dropped or changed.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let changed = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_wrong_letters_are_forgiven_and_the_start_of_a_word_is_enough() {
        let words = ["get", "put", "endpoint", "member"];
        assert_eq!(nearest("gett", words), ["get"]);
        assert_eq!(nearest("endp", words), ["endpoint"]);
        assert_eq!(nearest("mmebr", words), Vec::<&str>::new());
        assert_eq!(nearest("pet", words), ["get", "put"]);
    }

    #[test]
    fn distances_are_counted_in_letters() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }
}
