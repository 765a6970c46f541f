//! The wires of a field: one from each machine to the router in the middle.
//!
//! The router forwards, so it can drop what it likes: nobody is told, and a connection that is cut
//! off just falls silent.

use super::Sandbox;

pub const CENTER: usize = 100;
pub const CLIENT: usize = 200;

pub struct Wires {
    router: Sandbox,
}

/// Of the machine with this number.
pub fn address(machine: usize) -> String {
    format!("10.9.{machine}.2")
}

/// The text of /etc/hosts on every machine.
pub fn hosts(nodes: usize) -> String {
    let node = |n| format!("{0} node{n}\n{0} other{n}\n", address(n));
    let nodes: String = (1..=nodes).map(node).collect();
    format!("127.0.0.1 localhost\n{nodes}{} client\n{} center\n", address(CLIENT), address(CENTER))
}

impl Wires {
    pub fn new(router: Sandbox) -> Wires {
        let done = router.sh("echo 1 > /proc/sys/net/ipv4/ip_forward");
        assert_eq!(done.exit, 0, "{done:?}");
        Wires { router }
    }

    pub fn lay(&self, number: usize, machine: &Sandbox) {
        let done = self.router.sh(&format!(
            "ip link add w{number} type veth peer name eth0 netns {} && \
             ip addr add 10.9.{number}.1/24 dev w{number} && ip link set w{number} up",
            machine.init_outside()
        ));
        assert_eq!(done.exit, 0, "{done:?}");
        let done = machine.sh(&format!(
            "ip addr add {}/24 dev eth0 && ip link set eth0 up && \
             ip route add default via 10.9.{number}.1",
            address(number)
        ));
        assert_eq!(done.exit, 0, "{done:?}");
    }

    /// The old address is gone at once; connections that used it fall silent.
    pub fn readdress(&self, number: usize, machine: &Sandbox, new: &str) {
        let done = machine.sh(&format!(
            "ip addr del {}/24 dev eth0; ip addr add {new}/24 dev eth0 && \
             ip route replace default via 10.9.{number}.1",
            address(number)
        ));
        assert_eq!(done.exit, 0, "{done:?}");
    }

    pub fn cut_off(&self, number: usize) {
        let done = self.router.sh(&format!(
            "ip rule add pref 10 from 10.9.{number}.0/24 blackhole && \
             ip rule add pref 10 to 10.9.{number}.0/24 blackhole"
        ));
        assert_eq!(done.exit, 0, "{done:?}");
    }

    pub fn heal(&self) {
        self.router.sh("while ip rule del pref 10 2> /dev/null; do :; done");
    }
}
