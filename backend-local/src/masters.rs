//! Who should be a master: a pure function of who there is, who is, and what is wished.
//!
//! No I/O and no clock: what counts as lost is told by the caller.

/// Who should vote, by name, of the nodes in the order they joined.
///
/// The first three nodes, five from five nodes on. Of two the first: with two, the absence of either
/// would stop both; the other one follows, so that it has everything, too. A
/// master stays one while it is a node: changes cost more than they bring. A `lost` one is
/// replaced if there is another node to take its place, and else keeps its place for its return.
/// A wish fixes the masters, as far as they are nodes.
pub fn masters(nodes: &[&str], current: &[&str], lost: &[&str], wish: &[&str]) -> Vec<String> {
    let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
    let wished: Vec<&str> = nodes.iter().copied().filter(|name| wish.contains(name)).collect();
    if !wished.is_empty() {
        return owned(wished);
    }
    let count = match nodes.len() {
        0..=2 => 1,
        3..=4 => 3,
        _ => 5,
    };
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

/// Who keeps the data without a vote: the second of two.
pub fn followers(nodes: &[&str], masters: &[String]) -> Vec<String> {
    let pair = nodes.len() == 2 && masters.len() == 1;
    let other = |name: &&&str| pair && !masters.iter().any(|master| *master == **name);
    nodes.iter().filter(other).map(|name| (*name).to_owned()).collect()
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
        check("a b", "a", "", "", "a");
        check("a b", "b", "", "", "b");
        check("a b", "a b", "", "", "a");
        check("a b c", "a b", "", "", "a b c");
        check("a b c d", "a b c", "", "", "a b c");
        check("a b c d e", "a b c", "", "", "a b c d e");
        check("a b c d e f g", "a b c d e", "", "", "a b c d e");
    }

    #[test]
    fn the_second_of_two_follows() {
        let check = |nodes: &[&str], masters: &[&str], expected: &[&str]| {
            let masters: Vec<String> = masters.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(followers(nodes, &masters), expected);
        };
        check(&["a"], &["a"], &[]);
        check(&["a", "b"], &["a"], &["b"]);
        check(&["a", "b"], &["a", "b"], &[]);
        check(&["a", "b", "c"], &["a"], &[]);
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
