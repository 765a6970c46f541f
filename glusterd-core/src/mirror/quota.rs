//! `vols/V/quota.conf` and `quota.cksum`: which directories have limits, as `quota list` reads it.
//!
//! Pure. The files exist while quota is on. Facts: glusterd-quota.c:980-1160 and
//! glusterd-store.c:4941-5070 (form), glusterd-utils.c:2820-2920 (sum) (v10.3).

use super::text::checksum_in_order;
use crate::model::{LimitKind, QUOTA_LIMITS_MAX, QuotaLimit, QuotaList};
use uuid::Uuid;

/// First line; limits follow, 17 bytes each (gfid, then the kind).
const HEADER: &[u8] = b"GlusterFS Quota conf | version: v1.2\n";
const LIMIT_BYTES: usize = 17;
/// From here on stock sums up an empty file.
const SUM_IS_ZERO: u32 = 70_000;

pub const CONF: &str = "quota.conf";
pub const CKSUM: &str = "quota.cksum";

fn code(kind: LimitKind) -> u8 {
    match kind {
        LimitKind::Usage => 1,
        LimitKind::Objects => 2,
    }
}

pub fn conf(list: &QuotaList) -> Vec<u8> {
    let mut out = HEADER.to_vec();
    for limit in &list.limits {
        out.extend_from_slice(limit.gfid.as_bytes());
        out.push(code(limit.kind));
    }
    out
}

/// `op_version` is the pool's.
pub fn cksum(list: &QuotaList, op_version: u32) -> String {
    let sum = match op_version {
        SUM_IS_ZERO.. => 0,
        _ => checksum_in_order(&conf(list), op_version),
    };
    format!("cksum={sum}\nversion={}\n", list.version)
}

/// Reads both files back; a version that cannot be read is 0.
///
/// # Errors
/// What is wrong with `quota.conf`.
pub fn parse(conf: &[u8], cksum: &str) -> Result<QuotaList, &'static str> {
    let version = cksum.lines().find_map(|line| line.strip_prefix("version="));
    let version = version.and_then(|text| text.parse().ok()).unwrap_or(0);
    if conf.is_empty() {
        return Ok(QuotaList { version, limits: vec![] });
    }
    let rest = conf.strip_prefix(HEADER).ok_or("not of version 1.2")?;
    if !rest.len().is_multiple_of(LIMIT_BYTES) {
        return Err("cut off");
    }
    if rest.len() / LIMIT_BYTES > QUOTA_LIMITS_MAX {
        return Err("too many limits");
    }
    let limit = |bytes: &[u8]| {
        let kinds = [LimitKind::Usage, LimitKind::Objects];
        let kind = kinds.into_iter().find(|kind| code(*kind) == bytes[16]);
        let gfid = Uuid::from_slice(&bytes[..16]).ok()?;
        Some(QuotaLimit { gfid, kind: kind? })
    };
    let limits: Option<Vec<_>> = rest.chunks_exact(LIMIT_BYTES).map(limit).collect();
    Ok(QuotaList { version, limits: limits.ok_or("an unknown kind of limit")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> QuotaList {
        let mut list = QuotaList::default();
        for (gfid, kind) in [(1, LimitKind::Usage), (1, LimitKind::Objects), (7, LimitKind::Usage)]
        {
            list.add(QuotaLimit { gfid: Uuid::from_u128(gfid), kind });
        }
        list
    }

    #[test]
    fn what_is_written_is_read() {
        for list in [list(), QuotaList::default()] {
            let (conf, cksum) = (conf(&list), cksum(&list, 100_000));
            assert_eq!(parse(&conf, &cksum).unwrap(), list);
        }
        assert_eq!(cksum(&list(), 100_000), "cksum=0\nversion=3\n");
        assert_ne!(cksum(&list(), 60_000), cksum(&QuotaList::default(), 60_000));
        assert_eq!(conf(&list()).len(), HEADER.len() + 3 * LIMIT_BYTES);
    }

    #[test]
    fn bad_files_say_why() {
        let good = conf(&list());
        assert_eq!(parse(b"", "").unwrap(), QuotaList::default());
        for end in 1..good.len() {
            let whole = end >= HEADER.len() && (end - HEADER.len()).is_multiple_of(LIMIT_BYTES);
            assert_eq!(parse(&good[..end], "").is_ok(), whole, "{end}");
        }
        let mut odd = good;
        *odd.last_mut().unwrap() = 3;
        assert_eq!(parse(&odd, ""), Err("an unknown kind of limit"));
    }
}
