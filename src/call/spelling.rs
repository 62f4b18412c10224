//! Which name a misspelt word means: for the help of every message about an unknown name.

/// The one of `names` that was probably meant.
pub fn meant<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word: Vec<char> = word.chars().take(64).flat_map(char::to_lowercase).collect();
    let far = (word.len() / 3).clamp(1, 3);
    let distance = |name: &str| distance(&word, &name.chars().collect::<Vec<_>>());
    names
        .into_iter()
        .map(|name| (distance(name), name))
        .filter(|(d, _)| *d <= far)
        .min_by_key(|(d, _)| *d)
        .map(|(_, n)| n)
}

/// Whether the words are one slip of the finger apart: a letter too few or too many, another one, or two swapped.
pub fn is_slip(word: &str, meant: &str) -> bool {
    let letters = |text: &str| text.chars().take(64).collect::<Vec<_>>();
    distance(&letters(word), &letters(meant)) == 1
}

/// How many single changes lie between two words, a swap of neighbours counted as one.
fn distance(from: &[char], to: &[char]) -> usize {
    let mut rows: [Vec<usize>; 3] = [Vec::new(), Vec::new(), (0..=to.len()).collect()];
    let at = |row: &[usize], column: usize| row.get(column).copied().unwrap_or(usize::MAX / 2);
    for (i, a) in from.iter().enumerate() {
        rows.rotate_left(1);
        let [before, above, row] = &mut rows;
        row.clear();
        row.push(i + 1);
        for (j, b) in to.iter().enumerate() {
            let swapped = i > 0 && j > 0 && from.get(i - 1) == Some(b) && to.get(j - 1) == Some(a);
            let changed = at(above, j) + usize::from(a != b);
            let moved = (at(above, j + 1) + 1).min(at(row, j) + 1);
            let swap = if swapped { at(before, j - 1) + 1 } else { usize::MAX };
            row.push(changed.min(moved).min(swap));
        }
    }
    let [_, _, last] = &rows;
    at(last, to.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelled_word_finds_its_own() {
        let names = ["holds", "servers", "secrets", "state_dir", "runtime_dir"];
        for (word, meant) in [
            ("hold", Some("holds")),
            ("Servers", Some("servers")),
            ("sevrers", Some("servers")),
            ("statedir", Some("state_dir")),
            ("xyz", None),
            ("", None),
        ] {
            assert_eq!(super::meant(word, names), meant, "{word}");
        }
        assert!(is_slip("amuont", "amount") && is_slip("amoun", "amount"));
        assert!(!is_slip("account", "amount") && !is_slip("amount", "amount"));
    }
}
