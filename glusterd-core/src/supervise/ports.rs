//! Which TCP port serves which brick on this node: the registry behind the portmapper program.
//!
//! A port enters when a brick signs in, when it is attached to a process, or when a running brick
//! is found at start; allocation alone reserves nothing, a brick that loses the race for its port
//! says so and gets another. No RPC here: the program that speaks it is in `serve`.
//!
//! Facts: xlators/mgmt/glusterd/src/glusterd-pmap.c:32-680 (v10.3).

use parking_lot::Mutex;
use std::ops::RangeInclusive;
use std::sync::Arc;
use tokio::sync::broadcast;

/// Names a single connection may hold, and a single port may carry: far above the 4096 bricks that
/// one process can serve, low enough that a runaway peer cannot fill the memory.
const NAMES_MAX: usize = 16_384;
/// Ports that may be registered: every TCP port there is.
const PORTS_MAX: usize = 65_536;
/// Names longer than this are no paths.
const NAME_BYTES_MAX: usize = 4096;
/// Sign-ins and -outs a slow reader may fall behind; past that it looks at the whole registry.
const EVENTS_MAX: usize = 1024;

/// Whose TCP connection registered a port; numbers come from the RPC server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId(pub u64);

/// What happened to a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortEvent {
    SignedIn { name: String, port: u16 },
    SignedOut { name: String, port: u16 },
}

/// The registry could not take another name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the port registry is full")]
pub struct Full;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    port: u16,
    /// In sign-in order; a name may stand more than once (a brick signs in again when it
    /// reconnects to a restarted daemon).
    names: Vec<String>,
    owner: Option<ConnectionId>,
}

/// Port → names and owner. The newest port comes first, as lookups see it in stock.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    entries: Vec<Entry>,
}

impl Registry {
    /// Adds `name` to `port`'s entry, or makes one; a connection that signs in owns the entry
    /// it made.
    ///
    /// # Errors
    /// [`Full`] past the bounds above; nothing is changed.
    pub fn sign_in(
        &mut self,
        name: &str,
        port: u16,
        owner: Option<ConnectionId>,
    ) -> Result<(), Full> {
        if name.len() > NAME_BYTES_MAX {
            return Err(Full);
        }
        let room = self.entries.len() < PORTS_MAX;
        match self.entries.iter_mut().find(|entry| entry.port == port) {
            Some(entry) if entry.names.len() >= NAMES_MAX => Err(Full),
            Some(entry) => {
                // A second copy of a name only matters to stock's statedump; one more than that
                // would let a reconnecting brick grow the entry for ever.
                if entry.names.iter().filter(|known| *known == name).count() < 2 {
                    entry.names.push(name.to_owned());
                }
                entry.owner = owner.or(entry.owner);
                Ok(())
            }
            None if !room => Err(Full),
            None => {
                self.entries.insert(0, Entry { port, names: vec![name.to_owned()], owner });
                Ok(())
            }
        }
    }

    /// Adds `name` unless the port already carries it: for attached and for found bricks.
    ///
    /// # Errors
    /// [`Full`] as for [`Registry::sign_in`].
    pub fn enter(&mut self, name: &str, port: u16) -> Result<(), Full> {
        if self.names_of(port).any(|known| known == name) {
            return Ok(());
        }
        self.sign_in(name, port, None)
    }

    /// Forgets `name`, at `port` if it is not 0, else wherever it stands. Every copy goes. Returns
    /// the ports it stood at.
    pub fn sign_out(&mut self, name: &str, port: u16) -> Vec<u16> {
        let mut gone = Vec::new();
        for entry in self.entries.iter_mut().filter(|entry| port == 0 || entry.port == port) {
            let before = entry.names.len();
            entry.names.retain(|known| known != name);
            if entry.names.len() != before {
                gone.push(entry.port);
            }
        }
        self.entries.retain(|entry| !entry.names.is_empty());
        gone
    }

    /// The connection is gone: its entries stay (the brick may live on), without an owner.
    pub fn disconnected(&mut self, connection: ConnectionId) {
        for entry in &mut self.entries {
            if entry.owner == Some(connection) {
                entry.owner = None;
            }
        }
    }

    /// The port of an exact name.
    pub fn port_of(&self, name: &str) -> Option<u16> {
        self.entries
            .iter()
            .find(|entry| entry.names.iter().any(|known| known == name))
            .map(|entry| entry.port)
    }

    pub fn names_of(&self, port: u16) -> impl Iterator<Item = &str> {
        self.entries
            .iter()
            .filter(move |entry| entry.port == port)
            .flat_map(|entry| entry.names.iter().map(String::as_str))
    }

    /// Every entry, newest first, names as the statedump prints them: separated by blanks.
    pub fn rows(&self) -> Vec<(u16, String)> {
        self.entries.iter().map(|entry| (entry.port, entry.names.join(" "))).collect()
    }
}

/// A free port of `range`: probing starts at a random place (`seed`) and wraps around.
///
/// `None` when nothing in the range is free. `is_free` tries to bind.
pub fn allocate(
    range: RangeInclusive<u16>,
    seed: u64,
    mut is_free: impl FnMut(u16) -> bool,
) -> Option<u16> {
    let (first, last) = (u64::from(*range.start()), u64::from(*range.end()));
    let count = last.checked_sub(first)? + 1;
    (0..count)
        .map(|i| u16::try_from(first + (seed % count + i) % count).expect("inside a u16 range"))
        .find(|port| is_free(*port))
}

/// The registry as the portmapper program and the supervisor share it.
#[derive(Clone, Debug)]
pub struct Ports {
    registry: Arc<Mutex<Registry>>,
    events: broadcast::Sender<PortEvent>,
}

impl Default for Ports {
    fn default() -> Ports {
        Ports { registry: Arc::default(), events: broadcast::Sender::new(EVENTS_MAX) }
    }
}

impl Ports {
    /// PORTMAP SIGNIN.
    ///
    /// # Errors
    /// [`Full`] when the registry's bounds are reached.
    pub fn sign_in(&self, name: &str, port: u16, owner: Option<ConnectionId>) -> Result<(), Full> {
        self.registry.lock().sign_in(name, port, owner)?;
        self.tell(PortEvent::SignedIn { name: name.to_owned(), port });
        Ok(())
    }

    /// PORTMAP SIGNOUT; `port` 0 means wherever the name stands.
    pub fn sign_out(&self, name: &str, port: u16) {
        for port in self.registry.lock().sign_out(name, port) {
            self.tell(PortEvent::SignedOut { name: name.to_owned(), port });
        }
    }

    /// The supervisor's own entry for an attached or a found brick; nobody is told.
    pub fn enter(&self, name: &str, port: u16) -> Result<(), Full> {
        self.registry.lock().enter(name, port)
    }

    /// The supervisor's own removal; nobody is told.
    pub fn purge(&self, name: &str, port: u16) {
        self.registry.lock().sign_out(name, port);
    }

    pub fn disconnected(&self, connection: ConnectionId) {
        self.registry.lock().disconnected(connection);
    }

    pub fn port_of(&self, name: &str) -> Option<u16> {
        self.registry.lock().port_of(name)
    }

    /// Whether `port` carries `name`.
    pub fn carries(&self, name: &str, port: u16) -> bool {
        self.registry.lock().names_of(port).any(|known| known == name)
    }

    pub fn rows(&self) -> Vec<(u16, String)> {
        self.registry.lock().rows()
    }

    /// Sign-ins and -outs from now on. A reader that lags is told so and looks at the registry.
    pub fn events(&self) -> broadcast::Receiver<PortEvent> {
        self.events.subscribe()
    }

    fn tell(&self, event: PortEvent) {
        // No reader is fine: the registry is the truth.
        let _ = self.events.send(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(registry: &Registry, want: &[(u16, &str)]) {
        let rows = registry.rows();
        let rows: Vec<_> = rows.iter().map(|(port, names)| (*port, names.as_str())).collect();
        assert_eq!(rows, want);
    }

    #[test]
    fn names_come_and_go() {
        let mut r = Registry::default();
        r.sign_in("/a", 50000, Some(ConnectionId(1))).unwrap();
        r.sign_in("/b", 50000, Some(ConnectionId(1))).unwrap();
        r.sign_in("snapd-v", 50001, None).unwrap();
        check(&r, &[(50001, "snapd-v"), (50000, "/a /b")]);
        assert_eq!(
            (r.port_of("/b"), r.port_of("/"), r.port_of("/a /b")),
            (Some(50000), None, None)
        );
        r.disconnected(ConnectionId(1));
        check(&r, &[(50001, "snapd-v"), (50000, "/a /b")]);
        assert_eq!(r.sign_out("/a", 50000), [50000]);
        assert_eq!(r.sign_out("/a", 50000), [0; 0]);
        assert_eq!(r.sign_out("/b", 0), [50000]);
        check(&r, &[(50001, "snapd-v")]);
    }

    #[test]
    fn a_name_twice_is_kept_twice_and_no_oftener() {
        let mut r = Registry::default();
        r.enter("/a", 50000).unwrap();
        r.enter("/a", 50000).unwrap();
        check(&r, &[(50000, "/a")]);
        for _ in 0..5 {
            r.sign_in("/a", 50000, None).unwrap();
        }
        check(&r, &[(50000, "/a /a")]);
        r.sign_out("/a", 50000);
        check(&r, &[]);
    }

    #[test]
    fn bounds_hold() {
        let mut r = Registry::default();
        assert_eq!(r.sign_in(&"x".repeat(NAME_BYTES_MAX + 1), 1, None), Err(Full));
        for n in 0..NAMES_MAX {
            r.sign_in(&n.to_string(), 1, None).unwrap();
        }
        assert_eq!(r.sign_in("one more", 1, None), Err(Full));
    }

    #[test]
    fn allocation_wraps_around() {
        let check = |range, seed, taken: &[u16], want| {
            assert_eq!(allocate(range, seed, |port| !taken.contains(&port)), want)
        };
        check(10..=13, 0, &[], Some(10));
        check(10..=13, 7, &[], Some(13));
        check(10..=13, 7, &[13], Some(10));
        check(10..=13, 2, &[10, 11, 12, 13], None);
        check(65535..=65535, u64::MAX, &[], Some(65535));
        #[allow(clippy::reversed_empty_ranges)]
        check(13..=10, 1, &[], None);
    }

    #[test]
    fn sign_ins_are_told() {
        let ports = Ports::default();
        let mut events = ports.events();
        ports.enter("/found", 50000).unwrap();
        ports.sign_in("/a", 50001, None).unwrap();
        ports.sign_out("/a", 0);
        let signed_in = PortEvent::SignedIn { name: "/a".into(), port: 50001 };
        let signed_out = PortEvent::SignedOut { name: "/a".into(), port: 50001 };
        assert_eq!(events.try_recv().unwrap(), signed_in);
        assert_eq!(events.try_recv().unwrap(), signed_out);
        assert!(ports.carries("/found", 50000) && !ports.carries("/a", 50001));
    }
}
