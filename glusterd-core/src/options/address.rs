//! Which texts stock takes for addresses and host names, wildcards and networks included.
//!
//! Pure and local: nothing is resolved. Lists as in `auth.allow`: addresses with commas between
//! them, or `/dir(address|address)` with commas between the directories.
//!
//! Facts: valid_internet_address and kin, libglusterfs/src/common-utils.c:2427-2720;
//! xlator_option_validate_addr_list, libglusterfs/src/options.c (v10.3).

/// Longest host name, bytes; POSIX's `_POSIX_HOST_NAME_MAX`.
const HOST_NAME_MAX: usize = 255;

pub fn is_address_list(text: &str) -> bool {
    if !text.starts_with('/') && !text.contains('(') {
        return words(text, ',').all(is_address);
    }
    words(text, ',').all(is_directory_with_addresses)
}

fn is_directory_with_addresses(entry: &str) -> bool {
    let Some((dir, rest)) = entry.split_once('(') else { return false };
    let mut addresses = words(rest.split(')').next().unwrap_or(""), '|').peekable();
    dir.starts_with('/') && addresses.peek().is_some() && addresses.all(is_address)
}

/// One address, wildcards and a network's length allowed.
fn is_address(text: &str) -> bool {
    is_network(text) || is_ipv4(text) || is_ipv6(text) || is_host_name(text)
}

fn is_network(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit()) && is_ipv4(address)
}

fn is_ipv4(text: &str) -> bool {
    let ends_well = text.ends_with(|c: char| c.is_ascii_digit() || c == '*');
    if !ends_well || text.contains("..") {
        return false;
    }
    let octet = |part: &str| part.parse::<u32>().is_ok_and(|n| n <= 255);
    let parts: Vec<&str> = words(text, '.').collect();
    let wild = parts.contains(&"*");
    parts.iter().all(|part| *part == "*" || octet(part))
        && (parts.len() == 4 || (parts.len() < 4 && wild))
}

fn is_ipv6(text: &str) -> bool {
    let text = text.split('%').next().unwrap_or("");
    let compressed = text.matches("::").count() + text.matches(":::").count();
    if text.is_empty() || text.ends_with(':') || compressed > 1 {
        return false;
    }
    let group = |part: &str| u32::from_str_radix(part, 16).is_ok_and(|n| n <= 0xffff);
    let parts: Vec<&str> = words(text, ':').collect();
    let wild = parts.contains(&"*");
    parts.iter().all(|part| *part == "*" || group(part))
        && (parts.len() == 8 || (parts.len() < 8 && (wild || compressed == 1)))
}

fn is_host_name(text: &str) -> bool {
    let label = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part.ends_with(|c: char| c.is_ascii_alphanumeric())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    (1..=HOST_NAME_MAX).contains(&text.len())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric())
        && !text.contains("..")
        && words(text, '.').all(label)
}

/// Non-empty parts, as C's strtok cuts.
fn words(text: &str, separator: char) -> impl Iterator<Item = &str> {
    text.split(separator).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        let check = |text: &str, want: bool| assert_eq!(is_address_list(text), want, "{text:?}");
        check("*", true);
        check("10.0.0.1,node2", true);
        check("10.0.*", true);
        check("10.0.0.0/24", true);
        check("fe80::1", true);
        check("fe80::1%eth0", true);
        check("a_b", false);
        check("-a", false);
        check("300.1.1.1", true); // a host name by stock's reading
        check("a..b", false);
        check("/dir(10.0.0.1|node2),/other(*)", true);
        check("/dir(", false);
        check("/dir", false);
        check("dir(1.1.1.1)", false);
    }
}
