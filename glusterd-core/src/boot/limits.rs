//! Resource limits that children inherit.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Open files for us and, by inheritance, for every brick (glusterd.c:1467, v10.3).
const OPEN_FILES: u64 = 65536;

/// Sets soft and hard limit of open files to 65536; where the kernel refuses, soft becomes hard.
///
/// # Errors
/// A sentence for the log when fewer than 65536 are to be had; nothing else depends on it.
pub fn raise_open_files() -> Result<(), String> {
    let Err(refused) = setrlimit(Resource::RLIMIT_NOFILE, OPEN_FILES, OPEN_FILES) else {
        return Ok(());
    };
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(|error| error.to_string())?;
    let best = hard.min(OPEN_FILES);
    if soft < best {
        setrlimit(Resource::RLIMIT_NOFILE, best, hard).map_err(|error| error.to_string())?;
    }
    if best < OPEN_FILES {
        return Err(format!("Failed to set 'ulimit -n {OPEN_FILES}', {best} it is: {refused}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_as_high_as_it_may_be() {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        let outcome = raise_open_files();
        let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert!(soft >= hard.min(OPEN_FILES), "{soft} {hard} {outcome:?}");
    }
}
