//! The known word that a misspelt one most likely means.

/// Words further apart than this have nothing to do with each other.
const DISTANCE_MAX: usize = 3;

/// The nearest of `known`, if one is near.
pub(super) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|known| (distance(known, word), known))
        // Of a short word, three letters may be all of it.
        .filter(|(distance, known)| *distance <= DISTANCE_MAX && *distance * 2 <= known.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// Letters to insert, delete or change to make `b` of `a`.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for j in 0..b.len() {
            let changed = diagonal + usize::from(letter != b[j]);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_word_is_told_its_neighbour_and_a_strange_one_none() {
        let known = ["memory", "memory_entry_max", "first_byte", "disk", "url"];
        for (word, meant) in [
            ("memorry", Some("memory")),
            ("first-byte", Some("first_byte")),
            ("disc", Some("disk")),
            ("uri", Some("url")),
            ("head", None),
            ("completely_different", None),
        ] {
            assert_eq!(nearest(word, known.into_iter()), meant, "{word}");
        }
    }
}
