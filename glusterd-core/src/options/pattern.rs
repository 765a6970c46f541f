//! Shell patterns as far as option names and values use them: `*` and `?`.
//!
//! Bracket and extended forms occur only in options that no user can reach.

/// Whether the whole of `text` fits. Linear in memory, quadratic in time at worst.
pub fn fits(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p, t));
                p += 1;
            }
            Some(&b) if b == b'?' || b == text[t] => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((star, from)) = retry else { return false };
                retry = Some((star, from + 1));
                p = star + 1;
                t = from + 1;
            }
        }
    }
    pattern[p..].iter().all(|&b| b == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let check = |pattern: &str, text: &str, want: bool| {
            assert_eq!(fits(pattern, text), want, "{pattern} {text}")
        };
        check("auth.addr.*.allow", "auth.addr./d/b.allow", true);
        check("auth.addr.*.allow", "auth.addr./d/b.reject", false);
        check("transport.*", "transport.listen-backlog", true);
        check("on", "on", true);
        check("on", "one", false);
        check("*", "", true);
    }
}
