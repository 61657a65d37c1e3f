//! Which weights are changed together.

use std::collections::BTreeMap;

/// Layers that are changed together.
const LAYERS: usize = 6;

/// Each weight by itself.
pub(super) fn singly(open: &[usize]) -> Vec<Vec<usize>> {
    open.iter().map(|index| vec![*index]).collect()
}

/// The weights whose names differ in numbers alone, some of them at a time in the order of their numbers.
pub(super) fn groups(names: &[&str], open: &[usize]) -> Vec<Vec<usize>> {
    let mut kinds: BTreeMap<String, Vec<(Vec<u64>, usize)>> = BTreeMap::new();
    for index in open {
        let (kind, numbers) = kind(names[*index]);
        kinds.entry(kind).or_default().push((numbers, *index));
    }
    let mut groups = Vec::new();
    for mut weights in kinds.into_values() {
        weights.sort();
        groups.extend(
            weights.chunks(LAYERS).map(|group| group.iter().map(|(_, index)| *index).collect::<Vec<_>>()),
        );
    }
    groups
}

/// A name without its numbers, and they.
fn kind(name: &str) -> (String, Vec<u64>) {
    let digits = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let numbers = name.split('.').filter(digits).filter_map(|part| part.parse().ok()).collect();
    let parts = name.split('.').map(|part| if digits(&part) { "*" } else { part });
    (parts.collect::<Vec<&str>>().join("."), numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_of_a_kind_are_together() {
        let names: Vec<String> =
            (0..13).map(|layer| format!("blk.{layer}.up.weight")).chain(["out.weight".to_owned()]).collect();
        let names: Vec<&str> = names.iter().map(|name| &name[..]).collect();
        let open: Vec<usize> = (0..14).filter(|index| *index != 2).collect();
        let found = groups(&names, &open);
        assert_eq!(found, [vec![0, 1, 3, 4, 5, 6], vec![7, 8, 9, 10, 11, 12], vec![13]]);
        assert_eq!(singly(&[3, 1]), [[3], [1]]);
    }
}
