//! `glusterd coordinator ...`: moving, saving and rescuing what a pool keeps in its coordination service.
//!
//! Pure: words in, a command out. Nothing of stock's is in the way: a first word without a dash would
//! be a mount point there, which glusterd does not take.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use uuid::Uuid;

use super::args::{Invocation, UsageError};

/// The first word that leads here.
pub const WORD: &str = "coordinator";

#[derive(Parser)]
#[command(
    name = "glusterd coordinator",
    about = "Moves, saves and rescues what a pool keeps in its coordination service",
    long_about = None
)]
struct Words {
    #[command(subcommand)]
    what: CoordinatorCommand,
}

/// What to do with a pool's records. A URL is as in `glusterd.toml`; `local:` is this node's own store.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum CoordinatorCommand {
    /// Copies a pool to another service and compares both; the pool's daemons must be stopped
    Copy {
        from: String,
        to: String,
        /// Needed where the source has several pools
        #[arg(long, value_name = "UUID")]
        pool: Option<Uuid>,
        /// Overwrite other records that the target has of this pool
        #[arg(long)]
        replace: bool,
    },
    /// Writes a pool's records to a file, as of one moment
    Dump {
        url: String,
        /// Left out or "-": standard output
        file: Option<PathBuf>,
        /// Needed where the service has several pools
        #[arg(long, value_name = "UUID")]
        pool: Option<Uuid>,
    },
    /// Writes a dump's records into a service; the pool's daemons must be stopped
    Restore {
        file: PathBuf,
        url: String,
        /// Overwrite other records that the service has of this pool
        #[arg(long)]
        replace: bool,
    },
    /// Built-in store, last resort: this node goes on alone when most masters are lost for good
    ForceNewQuorum {
        /// Do it; without, it is only said what would come of it
        #[arg(long)]
        yes: bool,
    },
}

/// Reads the words after `coordinator`.
///
/// # Errors
/// Exit 64 and what is wrong.
pub fn parse(words: &[OsString]) -> Result<Invocation, UsageError> {
    let program = [OsString::from("glusterd coordinator")];
    match Words::try_parse_from(program.iter().chain(words)) {
        Ok(words) => Ok(Invocation::Coordinator(words.what)),
        Err(error) if !error.use_stderr() => Ok(Invocation::Print(error.render().to_string())),
        Err(error) => {
            Err(UsageError { text: error.render().to_string().trim_end().into(), exit: 64 })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Invocation, UsageError> {
        parse(&line.split_whitespace().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn commands() {
        let check = |line: &str, want: CoordinatorCommand| {
            assert_eq!(parsed(line), Ok(Invocation::Coordinator(want)), "{line}");
        };
        let (from, to) = ("local:".to_owned(), "zk://h/p".to_owned());
        let copy = |pool, replace| CoordinatorCommand::Copy {
            from: from.clone(),
            to: to.clone(),
            pool,
            replace,
        };
        check("copy local: zk://h/p", copy(None, false));
        let pool = Uuid::from_u128(1);
        check(&format!("copy --replace local: zk://h/p --pool={pool}"), copy(Some(pool), true));
        let dump = |file| CoordinatorCommand::Dump { url: from.clone(), file, pool: None };
        check("dump local:", dump(None));
        check("dump local: /x", dump(Some("/x".into())));
        let (file, url) = ("/x".into(), to.clone());
        check("force-new-quorum", CoordinatorCommand::ForceNewQuorum { yes: false });
        check("force-new-quorum --yes", CoordinatorCommand::ForceNewQuorum { yes: true });
        check("restore /x zk://h/p", CoordinatorCommand::Restore { file, url, replace: false });
    }

    #[test]
    fn mistakes_exit_with_64() {
        for line in ["", "x", "copy local:", "copy a b c", "dump", "restore x", "dump u --pool=x"] {
            assert_eq!(parsed(line).map_err(|error| error.exit), Err(64), "{line}");
        }
        assert!(matches!(parsed("--help"), Ok(Invocation::Print(_))));
        assert!(matches!(parsed("copy --help"), Ok(Invocation::Print(_))));
    }
}
