//! What each listener serves, under stock's names and in stock's order.
//!
//! The programs that only other stock daemons speak are not served: members of a pool talk through
//! the coordinator, and one of their own brings a node to it.
//!
//! Facts: xlators/mgmt/glusterd/src/glusterd.c:78-92, glusterd-handler.c:6556-6586 (v10.3).

use super::dispatch::{Narrowed, Program, Table};
use crate::rpc::cli::CliProc;
use crate::rpc::handshake::HandshakeProc;
use std::sync::Arc;

/// TCP: reading commands only, where anybody may ask them, ports, volfiles, and what other nodes have
/// to say.
pub fn tcp(
    cli: Option<Arc<dyn Program>>,
    portmap: Arc<dyn Program>,
    handshake: Arc<dyn Program>,
    join: Arc<dyn Program>,
) -> Table {
    let procedures = CliProc::READ_ONLY.iter().map(|procedure| procedure.0).collect();
    let read_only = cli.map(|program| {
        let name = "GlusterD svc cli read-only";
        Arc::new(Narrowed { program, name, procedures }) as Arc<dyn Program>
    });
    Table::new(read_only.into_iter().chain([portmap, handshake, join]).collect())
}

/// The unix socket: every command, and volfiles. Ports are asked for over TCP only.
pub fn unix(cli: Arc<dyn Program>, handshake: Arc<dyn Program>) -> Table {
    let getspec = Narrowed {
        program: handshake,
        name: "Gluster Handshake (CLI Getspec)",
        procedures: vec![HandshakeProc::GETSPEC.0],
    };
    Table::new(vec![cli, Arc::new(getspec)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::ProgramId;
    use crate::serve::{Connection, Reject};
    use async_trait::async_trait;
    use bytes::Bytes;

    struct Named(ProgramId, &'static str);

    #[async_trait]
    impl Program for Named {
        fn id(&self) -> ProgramId {
            self.0
        }

        fn name(&self) -> &str {
            self.1
        }

        fn serves(&self, _procedure: u32) -> bool {
            true
        }

        async fn call(&self, _: &Connection, _: u32, _: Bytes) -> Result<Vec<u8>, Reject> {
            Err(Reject::SystemError)
        }

        fn disconnected(&self, _: &Connection) {}
    }

    /// Name, program and how many of the first 60 procedures are served.
    fn check(table: &Table, expected: &[(&str, u32, usize)]) {
        let rows = table.programs().map(|program| {
            let served = (0..60).filter(|procedure| program.serves(*procedure)).count();
            (program.name(), program.id().number, served)
        });
        assert_eq!(rows.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn listeners_serve_what_stock_serves_there() {
        let cli = || Arc::new(Named(ProgramId::CLI, "GlusterD svc cli")) as Arc<dyn Program>;
        let portmap = || Arc::new(Named(ProgramId::PORTMAP, "Gluster Portmap"));
        let join = || Arc::new(Named(ProgramId::JOIN, "Built-in store join"));
        let handshake =
            || Arc::new(Named(ProgramId::HANDSHAKE, "Gluster Handshake")) as Arc<dyn Program>;
        let always = [
            ("Gluster Portmap", 34_123_456, 60),
            ("Gluster Handshake", 14_398_633, 60),
            ("Built-in store join", 24_009_062, 60),
        ];
        let stock = [&[("GlusterD svc cli read-only", 1_238_463, 8)], &always[..]].concat();
        check(&tcp(Some(cli()), portmap(), handshake(), join()), &stock);
        check(&tcp(None, portmap(), handshake(), join()), &always);
        check(
            &unix(cli(), handshake()),
            &[
                ("GlusterD svc cli", 1_238_463, 60),
                ("Gluster Handshake (CLI Getspec)", 14_398_633, 1),
            ],
        );
    }
}
