//! A field of real nodes: each a machine of its own in namespaces, a client beside them, and a
//! coordination service of any kind, wired to one router that can drop packets without a word.
//!
//! Nodes are counted from one: `node1` and so on, at 10.9.N.2, also by the names `other1` and so on.
//! Everything lives in one [`Sandbox`] and ends with it.

mod pool;
mod wires;

use std::thread;
use std::time::{Duration, Instant};

use super::sandbox::{Done, Kind, Sandbox};
use super::service::{ETCD, Service, ZOOKEEPER};
use wires::{CENTER, CLIENT, Wires, address};

/// Processes, elections, sessions and healing have this long on a busy machine.
pub const SETTLE: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    Local,
    Etcd,
    ZooKeeper,
}

impl Backend {
    fn service(self) -> Option<&'static Service> {
        match self {
            Backend::Local => None,
            Backend::Etcd => Some(&ETCD),
            Backend::ZooKeeper => Some(&ZOOKEEPER),
        }
    }
}

/// How a field is laid out.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub backend: Backend,
    pub nodes: usize,
    /// Sessions with the coordination service end after this time without contact.
    pub session_ttl_s: u32,
    /// Ends itself after this, if nobody ends it.
    pub limit: Duration,
}

impl Plan {
    pub fn of(backend: Backend, nodes: usize) -> Plan {
        Plan { backend, nodes, session_ttl_s: 10, limit: Duration::from_secs(1500) }
    }
}

pub struct Field {
    // Inner machines end before the one around them.
    nodes: Vec<Sandbox>,
    pub client: Sandbox,
    _center: Option<Sandbox>,
    wires: Wires,
    plan: Plan,
}

impl Field {
    /// Machines, wires and the service; no daemon runs yet.
    pub fn new(plan: Plan) -> Field {
        let router = Sandbox::lasting(Kind::Ours, plan.limit);
        let hosts = wires::hosts(plan.nodes);
        let inside = |name: &str| router.inside(name, &hosts);
        let nodes: Vec<Sandbox> =
            (1..=plan.nodes).map(|node| inside(&format!("node{node}"))).collect();
        let client = inside("client");
        let center = plan.backend.service().map(|_| inside("center"));
        let wires = Wires::new(router);
        for (at, node) in nodes.iter().enumerate() {
            wires.lay(at + 1, node);
        }
        wires.lay(CLIENT, &client);
        if let (Some(service), Some(center)) = (plan.backend.service(), &center) {
            wires.lay(CENTER, center);
            service.start_at(center, &address(CENTER));
        }
        let field = Field { nodes, client, _center: center, wires, plan };
        for node in field.all() {
            field.configure(node, "");
        }
        field
    }

    /// The same with daemons that answer, and one pool of the first `members` of them.
    pub fn pool(plan: Plan, members: usize) -> Field {
        let field = Field::new(plan);
        for node in field.all() {
            field.start(node);
        }
        field.await_service();
        for node in 2..=members {
            field.must(1, &format!("peer probe node{node}"));
        }
        field.until("all connected", SETTLE, |field| {
            (1..=members).all(|node| field.connected(node) == members - 1)
        });
        field
    }

    pub fn all(&self) -> std::ops::RangeInclusive<usize> {
        1..=self.nodes.len()
    }

    pub fn node(&self, node: usize) -> &Sandbox {
        &self.nodes[node - 1]
    }

    /// Settings of one node, read when its daemon starts; `more` are further lines of the file.
    pub fn configure(&self, node: usize, more: &str) {
        let url = match self.plan.backend.service() {
            Some(service) => service.url_at(&address(CENTER)),
            None => "local:".to_owned(),
        };
        let ttl = self.plan.session_ttl_s;
        let done = self.node(node).sh(&format!(
            "mountpoint -q /etc/glusterfs || {{ cp -a /etc/glusterfs /run/etc && \
             mount --bind /run/etc /etc/glusterfs; }}; \
             printf '[coordinator]\\nurl = \"{url}\"\\nsession_ttl_s = {ttl}\\n{more}' \
             > /etc/glusterfs/glusterd.toml"
        ));
        assert_eq!(done.exit, 0, "{done:?}");
    }

    pub fn start(&self, node: usize) {
        self.node(node).start();
    }

    /// SIGKILL to the daemon alone; what it started runs on.
    pub fn kill(&self, node: usize) {
        self.node(node).end("KILL");
    }

    /// SIGKILL to every process of the machine, as a power cut does; its memory disks stay.
    pub fn cut_power(&self, node: usize) {
        self.node(node).sh("kill -9 -1");
        let left = "ps -e -o comm= | grep -c gluster";
        self.node(node).until("no process left", Duration::from_secs(20), |machine| {
            machine.sh(left).out.trim() == "0"
        });
    }

    /// From now on every packet from and to the node is dropped without a word.
    pub fn cut_off(&self, node: usize) {
        self.wires.cut_off(node);
    }

    /// The same for the machine of the coordination service.
    pub fn cut_off_service(&self) {
        self.wires.cut_off(CENTER);
    }

    pub fn heal(&self) {
        self.wires.heal();
    }

    /// Another address for the node; every machine's names lead there from now on.
    pub fn readdress(&self, node: usize, address: &str) {
        let old = wires::address(node);
        let change =
            format!("sed 's/^{old} /{address} /' /run/hosts > /run/h && cat /run/h > /run/hosts");
        for machine in self.nodes.iter().chain([&self.client]) {
            assert_eq!(machine.sh(&change).exit, 0);
        }
        self.wires.readdress(node, self.node(node), address);
    }

    pub fn gluster(&self, node: usize, line: &str) -> Done {
        let limit = Duration::from_secs(140);
        self.node(node).sh_within(limit, &format!("gluster --mode=script {line}"))
    }

    /// The same, and it has to work.
    pub fn must(&self, node: usize, line: &str) -> String {
        let done = self.gluster(node, line);
        assert_eq!(done.exit, 0, "node{node}: gluster {line}: {done:?}\n{}", self.logs());
        done.out
    }

    /// An external service may still be coming up.
    fn await_service(&self) {
        let probe = "volume set all cluster.server-quorum-ratio 51%";
        for node in self.all() {
            self.until("the coordination service", SETTLE, |field| {
                field.gluster(node, probe).exit == 0
            });
        }
    }

    pub fn connected(&self, node: usize) -> usize {
        self.gluster(node, "peer status").out.matches("Peer in Cluster (Connected)").count()
    }

    /// Asks again and again until the answer is yes, `limit` at most.
    pub fn until(&self, what: &str, limit: Duration, mut ask: impl FnMut(&Field) -> bool) {
        let end = Instant::now() + limit;
        while !ask(self) {
            assert!(Instant::now() < end, "not within {limit:?}: {what}\n{}", self.logs());
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Each node's answer to the same, asked at the same time.
    pub fn each<T: Send>(&self, nodes: &[usize], ask: impl Fn(usize) -> T + Sync) -> Vec<T> {
        let ask = &ask;
        thread::scope(|scope| {
            let asked: Vec<_> = nodes.iter().map(|node| scope.spawn(move || ask(*node))).collect();
            asked.into_iter().map(|one| one.join().unwrap()).collect()
        })
    }

    /// The ends of all daemons' logs, for a failure's message.
    pub fn logs(&self) -> String {
        let tail = |node| format!("--- node{node}\n{}", self.node(node).log_tail());
        self.all().map(tail).collect()
    }

    /// Copies of all logs, for reading after the field has ended.
    pub fn keep_logs(&self, folder: &std::path::Path) {
        let machines = self.all().map(|node| (format!("node{node}"), self.node(node)));
        for (name, machine) in machines.chain([("client".to_owned(), &self.client)]) {
            let to = folder.join(name);
            let _ = std::fs::create_dir_all(&to);
            let mut copy = std::process::Command::new("cp");
            copy.arg("-a").arg(machine.path("/var/log/glusterfs"));
            copy.arg(machine.path("/var/lib/glusterd")).arg(&to);
            let _ = copy.status();
        }
    }

    /// Mounts a volume on the client, with every node as a source of its volfile.
    pub fn mount(&self, volume: &str) {
        let others: Vec<String> =
            (2..=self.nodes.len()).map(|node| format!("node{node}")).collect();
        let script = format!(
            "mount -t glusterfs -o backup-volfile-servers={} node1:/{volume} /mnt/m && \
             echo x > /mnt/m/probe && cat /mnt/m/probe",
            others.join(":")
        );
        let done = self.client.sh(&script);
        assert_eq!(done.out, "x\n", "{done:?}\n{}", self.logs());
    }
}
