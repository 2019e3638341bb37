//! Tables that have to fit: which columns are shown.

/// The columns that are left when those that matter least have given way: of the `shown` ones, the
/// one of the highest rank goes first, as long as the table is too wide. Those of rank `floor` and
/// lower stay.
pub(crate) fn give_way(
    mut shown: Vec<usize>,
    rank: impl Fn(usize) -> u8,
    floor: u8,
    is_too_wide: impl Fn(&[usize]) -> bool,
) -> Vec<usize> {
    while is_too_wide(&shown) {
        let least = shown.iter().copied().max_by_key(|&at| rank(at));
        let Some(least) = least.filter(|&at| rank(at) > floor) else { break };
        shown.retain(|&at| at != least);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::give_way;

    #[test]
    fn columns_go_by_rank_down_to_those_that_stay() {
        let ranks = [0, 3, 1, 3, 2];
        let left = |room: usize, floor| {
            give_way((0..5).collect(), |at| ranks[at], floor, |shown| shown.len() > room)
        };
        assert_eq!(left(5, 0), [0, 1, 2, 3, 4]);
        assert_eq!(left(4, 0), [0, 1, 2, 4], "of equals the last");
        assert_eq!(left(2, 0), [0, 2]);
        assert_eq!(left(1, 0), [0]);
        assert_eq!(left(0, 1), [0, 2], "no more than these");
    }
}
