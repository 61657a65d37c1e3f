//! Names that may have been meant.

/// The names, three at most, that differ least from `name`, the most similar first. If one differs in letter case alone, it is the
/// only answer.
pub(crate) fn similar<'a>(name: &str, names: impl IntoIterator<Item = &'a String>) -> Vec<String> {
    const MOST: usize = 3;
    /// The length in bytes above which a name is not compared: the time of a comparison is the product of the two lengths.
    const LONGEST: usize = 256;
    let allowed = name.len() / 3;
    let mut similar: Vec<(usize, &String)> = names
        .into_iter()
        .filter(|other| name.len() <= LONGEST && other.len().abs_diff(name.len()) <= allowed)
        .map(|other| (edit_distance(name, other), other))
        .filter(|(distance, _)| *distance <= allowed)
        .collect();
    similar.sort();
    let most = if similar.first().is_some_and(|(distance, _)| *distance == 0) { 1 } else { MOST };
    similar.into_iter().take(most).map(|(_, name)| name.clone()).collect()
}

/// Levenshtein's distance of two texts, in characters; upper and lower case are the same.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut distances: Vec<usize> = (0..=b.len()).collect();
    for (row, left) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut distances[0], row + 1);
        for (column, right) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(!left.eq_ignore_ascii_case(right));
            diagonal = distances[column + 1];
            distances[column + 1] = replaced.min(diagonal + 1).min(distances[column] + 1);
        }
    }
    distances[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edit_distances() {
        for (a, b, distance) in
            [("", "", 0), ("", "abc", 3), ("kitten", "sitting", 3), ("Weight", "weight", 0), ("ab", "ba", 2)]
        {
            assert_eq!(edit_distance(a, b), distance, "{a} {b}");
            assert_eq!(edit_distance(b, a), distance, "{b} {a}");
        }
    }

    #[test]
    fn names_that_may_have_been_meant() {
        let known = ["q4_0", "q4_1", "q4_k", "q8_0"].map(str::to_owned);
        for (name, expected) in [
            ("Q4_0", &["q4_0"][..]),
            ("Q4_K_M", &["q4_k"]),
            ("q4_7", &["q4_0", "q4_1", "q4_k"]),
            ("q8-0", &["q8_0"]),
            ("int8", &[]),
            ("", &[]),
        ] {
            assert_eq!(similar(name, &known), expected, "{name}");
        }
    }
}
