//! Who should be a master: a pure function of who there is, who is, and what is wished.
//!
//! No I/O and no clock: what counts as lost is told by the caller.

/// Who should vote, by name, of the nodes in the order they joined.
///
/// The first three nodes, five from five nodes on; two of two, so that either has everything. A
/// master stays one while it is a node: changes cost more than they bring. A `lost` one is
/// replaced if there is another node to take its place, and else keeps its place for its return.
/// A wish fixes the masters, as far as they are nodes.
pub fn masters(nodes: &[&str], current: &[&str], lost: &[&str], wish: &[&str]) -> Vec<String> {
    let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
    let wished: Vec<&str> = nodes.iter().copied().filter(|name| wish.contains(name)).collect();
    if !wished.is_empty() {
        return owned(wished);
    }
    let count = if nodes.len() < 5 { nodes.len().min(3) } else { 5 };
    // Best first: masters that are here, others that are here, masters that are lost.
    let rank = |name: &&str| match (current.contains(name), lost.contains(name)) {
        (true, false) => 0,
        (false, false) => 1,
        (true, true) => 2,
        (false, true) => 3,
    };
    let mut ranked = nodes.to_vec();
    ranked.sort_by_key(rank);
    ranked.truncate(count);
    owned(nodes.iter().copied().filter(|name| ranked.contains(name)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(nodes: &str, current: &str, lost: &str, wish: &str, expected: &str) {
        let words = |text: &'static str| -> Vec<&'static str> { text.split_whitespace().collect() };
        let leak = |text: &str| words(Box::leak(text.to_owned().into_boxed_str()));
        let got = masters(&leak(nodes), &leak(current), &leak(lost), &leak(wish));
        assert_eq!(got.join(" "), expected, "{nodes} / {current} / {lost} / {wish}");
    }

    #[test]
    fn the_first_three_then_five() {
        check("a", "a", "", "", "a");
        check("a b", "a", "", "", "a b");
        check("a b c", "a b", "", "", "a b c");
        check("a b c d", "a b c", "", "", "a b c");
        check("a b c d e", "a b c", "", "", "a b c d e");
        check("a b c d e f g", "a b c d e", "", "", "a b c d e");
    }

    #[test]
    fn masters_stay_and_the_lost_are_replaced() {
        check("a b c d", "b c d", "", "", "b c d");
        check("a b c d", "a b c", "b", "", "a c d");
        check("a b c", "a b c", "b", "", "a b c");
        check("a b c d", "a b c", "b c d", "", "a b c");
        check("a c d", "a b c", "", "", "a c d");
        check("a b c d", "a b c d e", "", "", "a b c");
    }

    #[test]
    fn a_wish_fixes_them() {
        check("a b c d", "a b c", "", "d b", "b d");
        check("a b c d", "a b c", "d", "d", "d");
        check("a b c d", "a b c", "", "x y", "a b c");
        check("a b c d", "a b c", "", "x d", "d");
        check("", "", "", "a", "");
    }
}
