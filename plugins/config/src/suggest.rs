//! "Did you mean …?"

/// A hint at the likeliest word, to be put behind a message; empty when none is near.
pub(crate) fn hint<'a>(found: &str, words: impl Iterator<Item = &'a str>) -> String {
    // Text this long is no mistyped key.
    if found.len() > 64 {
        return String::new();
    }
    let near = words.map(|word| (distance(found, word), word)).min();
    match near {
        Some((distance, word)) if distance <= (word.len() / 3).clamp(1, 3) => {
            format!("; did you mean `{word}`?")
        }
        _ => String::new(),
    }
}

/// How many letters to change, add, leave out or swap (Damerau–Levenshtein, adjacent swaps).
fn distance(from: &str, to: &str) -> usize {
    let from: Vec<char> = from.to_lowercase().replace('-', "_").chars().collect();
    let to: Vec<char> = to.replace('-', "_").chars().collect();
    let mut rows = vec![(0..=to.len()).collect::<Vec<_>>()];
    for i in 1..=from.len() {
        let mut row = vec![i];
        for j in 1..=to.len() {
            let change = rows[i - 1][j - 1] + usize::from(from[i - 1] != to[j - 1]);
            let mut least = change.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_at_what_is_near() {
        let keys = ["address", "certificate", "private_key", "tls"];
        let hint = |found: &str| hint(found, keys.iter().copied());
        assert_eq!(hint("adress"), "; did you mean `address`?");
        assert_eq!(hint("privatekey"), "; did you mean `private_key`?");
        assert_eq!(hint("private-key"), "; did you mean `private_key`?");
        assert_eq!(hint("tsl"), "; did you mean `tls`?");
        assert_eq!(hint("port"), "");
        assert_eq!(hint(&"x".repeat(100)), "");
    }
}
