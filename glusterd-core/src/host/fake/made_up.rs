//! What the machine in memory makes up: addresses from names, chance from a seed, and what is not there.

use super::super::Process;
use std::io;

/// Every name has an address of its own.
pub(super) fn address_of(host: &str) -> std::net::IpAddr {
    let number = xxhash_rust::xxh64::xxh64(host.as_bytes(), 0) as u32;
    let made_up = std::net::Ipv4Addr::from(0x0a00_0000 | (number & 0x00ff_ffff));
    host.parse().unwrap_or(made_up.into())
}

/// SplitMix64.
pub(super) fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

pub(super) fn absent() -> io::Error {
    io::Error::from_raw_os_error(nix::libc::ENOENT)
}

pub(super) fn brick_port(process: &Process) -> Option<u16> {
    process.option("--brick-port")?.parse().ok()
}
