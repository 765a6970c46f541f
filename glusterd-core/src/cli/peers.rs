//! `peer status` and `pool list`.
//!
//! Facts: glusterd-handler.c `glusterd_list_friends`; cli-rpc-ops.c:412 (v10.3).

use crate::model::DAEMON_PORT;
use crate::rpc::Dict;
use crate::store::View;

/// The `friends` dict. `with_self` adds the answering node as the last entry, as `pool list` wants.
pub fn friends(view: &View, with_self: bool) -> Dict {
    let mut dict = Dict::new();
    let mut count = 0u32;
    for peer in view.others() {
        count += 1;
        let key = |field: &str| format!("friend{count}.{field}");
        let first = peer.hostnames.first().map_or("", String::as_str);
        dict.set_str(key("uuid"), peer.id.to_string());
        dict.set_str(key("hostname"), first);
        dict.set_int(key("port"), DAEMON_PORT);
        dict.set_int(key("stateId"), peer.state.code());
        dict.set_str(key("state"), peer.state.text());
        dict.set_int(key("connected"), u32::from(view.alive.contains(&peer.id)));
        for (i, name) in peer.hostnames.iter().enumerate() {
            dict.set_str(format!("friend{count}.hostname{i}"), name);
        }
        dict.set_int(key("hostname_count"), peer.hostnames.len() as u64);
    }
    if with_self {
        count += 1;
        dict.set_str(format!("friend{count}.uuid"), view.me.to_string());
        dict.set_str(format!("friend{count}.hostname"), "localhost");
        dict.set_int(format!("friend{count}.connected"), 1u32);
    }
    dict.set_int("count", count);
    dict
}

/// What probe and detach say while a volume is without server quorum.
pub const NO_QUORUM: &str =
    "Cluster quorum is not met. Changing peers is not allowed in this state";
