//! The daemon's own state dump: what SIGUSR1 writes into the run directory.
//!
//! Pure. Stock's sections about its memory have no counterpart; the one about the daemon does.
//! Facts: glusterd-statedump.c:168-270, libglusterfs/src/statedump.c (v10.3), and stock's files.

use super::registry::Connections;
use crate::model::{DAEMON_PORT, OP_VERSION_MAX, OP_VERSION_MIN};
use crate::store::View;
use crate::supervise::ports::Ports;
use std::fmt::Write as _;

/// `RUN/glusterdump.PID.dump.SECONDS`.
pub fn file_name(run: &str, pid: u32, unix_time_s: u64) -> String {
    format!("{run}/glusterdump.{pid}.dump.{unix_time_s}")
}

/// What the daemon knows beside the image.
#[derive(Clone, Copy, Debug, Default)]
pub struct Online {
    pub quotad: bool,
    pub bitd: bool,
    pub scrub: bool,
}

/// The dump between two stamps as the log writes them.
pub fn text(
    view: &View,
    work: &str,
    online: Online,
    ports: &Ports,
    connections: &Connections,
    stamp: &str,
) -> String {
    let mut text = format!("DUMP-START-TIME: {stamp}\n\n[xlator.glusterd.priv]\n");
    let mut put = |key: &str, value: &dyn std::fmt::Display| {
        writeln!(text, "glusterd.{key}={value}").expect("a String takes any text");
    };
    put("my-uuid", &view.me);
    put("working-directory", &work);
    put("max-op-version", &OP_VERSION_MAX);
    put("min-op-version", &OP_VERSION_MIN);
    put("current-op-version", &view.op_version());
    put("ping-timeout", &0);
    put("quotad.online", &u8::from(online.quotad));
    put("bitd.online", &u8::from(online.bitd));
    put("scrub.online", &u8::from(online.scrub));
    for (i, peer) in view.others().enumerate() {
        let mut put = |key: &str, value: &dyn std::fmt::Display| {
            put(&format!("peer{}.{key}", i + 1), value);
        };
        put("uuid", &peer.id);
        put("hostname", &peer.hostnames.first().map_or("", String::as_str));
        put("port", &DAEMON_PORT);
        put("state", &peer.state.code());
        put("rpc.connected", &u8::from(view.alive.contains(&peer.id)));
    }
    for (port, name) in ports.rows() {
        put("brick_port", &port);
        put("brickname", &name);
    }
    let clients = connections.list().into_iter().map(|c| (c.peer(), c.facts()));
    let clients = clients.filter(|(_, facts)| facts.volname.is_some());
    for (i, (peer, facts)) in clients.enumerate() {
        let mut put = |key: &str, value: &dyn std::fmt::Display| {
            put(&format!("client{}.{key}", i + 1), value);
        };
        put("identifier", &peer);
        put("volname", &facts.volname.unwrap_or_default());
        put("max-op-version", &facts.max_op_version);
        put("min-op-version", &facts.min_op_version);
    }
    let mut options = String::new();
    for (key, value) in view.global.options.iter() {
        options += &format!("\n\t{key}:{value}");
    }
    options += &format!("\n\tglobal-option-version:{}", view.global.version);
    put("options", &options);
    text += &format!("\nDUMP-END-TIME: {stamp}\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::NodeId;

    #[test]
    fn an_idle_daemon() {
        let view = View::alone(NodeId::parse("dd876028-1bf4-4836-809c-da8fdb98d869").unwrap());
        let ports = Ports::default();
        ports.enter("/b", 50000).unwrap();
        let (online, nobody) = (Online { bitd: true, ..Online::default() }, Connections::default());
        let got = text(&view, "/w", online, &ports, &nobody, "NOW");
        let want = "DUMP-START-TIME: NOW\n\n[xlator.glusterd.priv]\n\
            glusterd.my-uuid=dd876028-1bf4-4836-809c-da8fdb98d869\n\
            glusterd.working-directory=/w\nglusterd.max-op-version=100000\n\
            glusterd.min-op-version=1\nglusterd.current-op-version=100000\n\
            glusterd.ping-timeout=0\nglusterd.quotad.online=0\nglusterd.bitd.online=1\n\
            glusterd.scrub.online=0\nglusterd.brick_port=50000\nglusterd.brickname=/b\n\
            glusterd.options=\n\tglobal-option-version:0\n\nDUMP-END-TIME: NOW\n";
        assert_eq!(got, want);
        assert_eq!(file_name("/run", 7, 9), "/run/glusterdump.7.dump.9");
    }
}
