//! The known word that a misspelt one most likely stands for.

/// What could stand there: of many words, the first.
pub(super) fn one_of<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    const SHOWN: usize = 40;
    let mut words = words.into_iter();
    let shown: Vec<&str> = words.by_ref().take(SHOWN).collect();
    let more = words.count();
    let rest = if more > 0 { format!(", and {more} more") } else { String::new() };
    format!("one of: {}{rest}", shown.join(", "))
}

/// The known word that looks most like `word`, if any does: at most a third of it is to be changed.
/// `dependsOn`, `DependsOn` and `depends-on` are `depends_on`.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let plain = plain(word);
    let length = plain.chars().count();
    let allowed = (length / 3).max(1).min(length.saturating_sub(1));
    known
        .into_iter()
        .filter(|candidate| candidate.chars().count() <= 2 * (length + allowed))
        .map(|candidate| (distance(&plain, &self::plain(candidate), allowed), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate.to_owned())
}

/// Without what `snake_case`, `kebab-case` and `camelCase` differ in.
pub(super) fn plain(word: &str) -> String {
    word.chars().filter(|letter| !"_- ".contains(*letter)).flat_map(char::to_lowercase).collect()
}

/// Letters to insert, to remove, to replace, or to swap with their neighbour (optimal string
/// alignment). Above `allowed`: more than that.
fn distance(left: &str, right: &str, allowed: usize) -> usize {
    let left: Vec<char> = left.chars().collect();
    let right: Vec<char> = right.chars().collect();
    if left.len().abs_diff(right.len()) > allowed {
        return allowed + 1;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for row in 1..=left.len() {
        let mut next = vec![row];
        for column in 1..=right.len() {
            let change = usize::from(left[row - 1] != right[column - 1]);
            let mut best =
                (last[column] + 1).min(next[column - 1] + 1).min(last[column - 1] + change);
            let is_swap = row > 1
                && column > 1
                && left[row - 1] == right[column - 2]
                && left[row - 2] == right[column - 1];
            if is_swap {
                best = best.min(before[column - 2] + 1);
            }
            next.push(best);
        }
        before = std::mem::replace(&mut last, next);
    }
    last[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_found_and_a_far_one_is_not() {
        let known = ["restart", "ready", "stop", "heartbeat", "depends_on"];
        assert_eq!(nearest("autorestrat", known), None);
        assert_eq!(nearest("restrat", known).as_deref(), Some("restart"));
        assert_eq!(nearest("heartbaet", known).as_deref(), Some("heartbeat"));
        assert_eq!(nearest("x", known), None);
        for case in ["dependsOn", "DependsOn", "depends-on", "depend_on"] {
            assert_eq!(nearest(case, known).as_deref(), Some("depends_on"));
        }
    }
}
