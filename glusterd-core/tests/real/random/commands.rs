//! Which commands come up, and how often.
//!
//! A line is what follows `gluster`; `@` commands are the pair's. Few names and paths, so that
//! commands meet what others left.

use glusterd_core::options::{Opt, Range, Scope, TABLE, Value};

/// A generator of numbers; the same seed, the same numbers.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0x9e37_79b9_7f4a_7c15)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    /// `percent` times in a hundred.
    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

const VOLUMES: [&str; 3] = ["alpha", "beta", "nosuch"];

/// Words between name and bricks, and how many bricks.
const SHAPES: [(&str, usize); 8] = [
    ("", 1),
    ("", 2),
    ("", 3),
    ("replica 2 ", 2),
    ("replica 3 ", 3),
    ("replica 2 ", 4),
    ("replica 3 arbiter 1 ", 3),
    ("disperse 3 redundancy 1 ", 3),
];

/// Options that are left out, each for what it would do to the comparison.
const LEFT_OUT: &[&str] = &[
    // Makes a daemon's own mounts and bricks fail at random, and with them quota and heal commands.
    "debug.error-gen",
];

fn is_left_out(opt: &Opt) -> bool {
    LEFT_OUT.contains(&opt.key)
}

/// Op-versions of releases that pools were made with.
const OP_VERSIONS: &[u32] = &[30_712, 31_302, 40_100, 50_400, 60_000, 70_200, 80_000, 90_000];

/// Begins with a volume, or most commands would only say that there is none.
pub fn sequence(dice: &mut Dice, length: u64) -> Vec<String> {
    let mut lines = Vec::new();
    if dice.chance(25) {
        lines.push(format!("@opversion {}", dice.pick(OP_VERSIONS)));
    }
    lines.push(create(dice, "alpha"));
    if dice.chance(70) {
        lines.push("volume start alpha".to_owned());
    }
    while (lines.len() as u64) < length {
        lines.push(command(dice));
    }
    lines.truncate(length as usize);
    lines
}

fn command(dice: &mut Dice) -> String {
    let volume = if dice.chance(75) { "alpha" } else { dice.pick(&VOLUMES) };
    let force = if dice.chance(30) { " force" } else { "" };
    let line = match dice.below(100) {
        0..8 => create(dice, volume),
        8..14 => format!("volume start {volume}{force}"),
        14..19 => format!("volume stop {volume}{force}"),
        19..22 => format!("volume delete {volume}"),
        22..56 => format!("volume set {volume} {}", pairs(dice)),
        56..62 => bricks(dice, volume),
        62..70 => format!("volume reset {volume} {}{force}", some_key(dice)),
        70..73 => format!("volume reset {volume}{force}"),
        73..78 => format!("volume get {volume} {}", some_key(dice)),
        78..80 => format!("volume get {volume} all"),
        80..84 => pool_option(dice),
        84..88 => bitrot(dice, volume),
        88..92 => quota(dice, volume),
        92 => format!("volume info {volume}"),
        93 => dice.pick(&["volume list", "volume info", "pool list"]).to_owned(),
        94..96 => service(dice, volume),
        96 => {
            let group = dice.pick(&["metadata-cache", "virt", "nl-cache", "nosuch"]);
            format!("volume set {volume} group {group}")
        }
        97 if dice.chance(50) => {
            let version = dice.pick(&[30_600, 30_706, 30_800, 40_000, 70_200]);
            format!("@guest {} {version}", dice.pick(&["alpha", "beta"]))
        }
        97 => format!("volume barrier {volume} {}", dice.pick(&["enable", "disable"])),
        _ => bricks(dice, volume),
    };
    if dice.chance(12) && !line.starts_with('@') { format!("{line} --xml") } else { line }
}

fn create(dice: &mut Dice, volume: &str) -> String {
    let (words, bricks) = dice.pick(&SHAPES);
    // One of two sets of paths: what a deleted volume left marked comes up again.
    let set = dice.pick(&["x", "y"]);
    let bricks: Vec<String> =
        (1..=bricks).map(|number| format!("node1:/srv/b/{volume}-{set}{number}")).collect();
    let force = if bricks.len() > 1 || dice.chance(30) { " force" } else { "" };
    format!("volume create {volume} {words}{}{force}", bricks.join(" "))
}

/// What switches options by a command of its own.
fn service(dice: &mut Dice, volume: &str) -> String {
    match dice.pick(&[
        "heal enable",
        "heal disable",
        "heal granular-entry-heal enable",
        "heal granular-entry-heal disable",
        "profile start",
        "profile stop",
        "inode-quota enable",
    ]) {
        words if words.starts_with("inode") => format!("volume inode-quota {volume} enable"),
        words => {
            let (command, rest) = words.split_once(' ').expect("two words");
            format!("volume {command} {volume} {rest}")
        }
    }
}

/// The set of bricks changes. What migrates data takes seconds and is in tests of its own.
fn bricks(dice: &mut Dice, volume: &str) -> String {
    let set = dice.pick(&["x", "y"]);
    let mut one = |highest: usize| {
        let number = 1 + dice.below(highest);
        format!("node1:/srv/b/{volume}-{set}{number}")
    };
    let (old, other, new) = (one(3), one(4), one(8));
    let count = dice.pick(&["", "", "replica 2 ", "replica 3 ", "replica 4 "]);
    let force = if dice.chance(80) { " force" } else { "" };
    match dice.below(6) {
        0..2 => format!("volume add-brick {volume} {count}{new}{force}"),
        2 => format!("volume add-brick {volume} {count}{new} {other}{force}"),
        3 => format!("volume remove-brick {volume} {count}{old} force"),
        4 => format!("volume remove-brick {volume} {count}{old} {other} force"),
        _ => format!("volume replace-brick {volume} {old} {new} commit force"),
    }
}

fn some_option(dice: &mut Dice) -> &'static Opt {
    loop {
        let opt = &TABLE[dice.below(TABLE.len())];
        if !is_left_out(opt) {
            return opt;
        }
    }
}

fn some_key(dice: &mut Dice) -> String {
    match dice.below(20) {
        0 => "no.such-option".to_owned(),
        1 => "user.note".to_owned(),
        2 => "ping-timeout".to_owned(),
        _ => some_option(dice).key.to_owned(),
    }
}

fn pairs(dice: &mut Dice) -> String {
    let count = if dice.chance(20) { 2 } else { 1 };
    let mut words = Vec::new();
    for _ in 0..count {
        words.push(match dice.below(25) {
            0 => "no.such-option on".to_owned(),
            1 => format!("user.note {}", dice.pick(&["one", "two", "three"])),
            _ => {
                let opt = some_option(dice);
                format!("{} {}", opt.key, value(dice, opt))
            }
        });
    }
    words.join(" ")
}

fn pool_option(dice: &mut Dice) -> String {
    let pool: Vec<&Opt> =
        TABLE.iter().filter(|opt| opt.scope == Scope::Pool && !is_left_out(opt)).collect();
    let opt = dice.pick(&pool);
    match dice.below(8) {
        0 => format!("volume get all {}", opt.key),
        1 => "volume get all all".to_owned(),
        2 => format!("volume reset all {}", opt.key),
        3 => {
            let version = dice.pick(OP_VERSIONS) + dice.pick(&[0, 0, 1]);
            let version = dice.pick(&[version, version, 100_000, 100_001]);
            format!("volume set all cluster.op-version {version}")
        }
        _ => format!("volume set all {} {}", opt.key, value(dice, opt)),
    }
}

fn bitrot(dice: &mut Dice, volume: &str) -> String {
    let words = dice.pick(&[
        "enable",
        "enable",
        "disable",
        "scrub pause",
        "scrub resume",
        "scrub-throttle lazy",
        "scrub-frequency daily",
        "signing-time 30",
        "signer-threads 3",
    ]);
    format!("volume bitrot {volume} {words}")
}

fn quota(dice: &mut Dice, volume: &str) -> String {
    let words = dice.pick(&[
        "enable",
        "enable",
        "disable",
        "list",
        "limit-usage / 10MB",
        "limit-usage /nosuch 10MB 50",
        "limit-objects / 100",
        "remove /",
        "default-soft-limit 70%",
        "default-soft-limit 170%",
        "soft-timeout 100",
        "hard-timeout 9999",
        "alert-time 1d",
    ]);
    format!("volume quota {volume} {words}")
}

/// Values of options whose declarations do not tell them.
const WORDS: &[(&str, &[&str])] = &[
    ("cluster.enable-shared-storage", &["enable", "disable", "on"]),
    ("client.keepalive-count", NUMBERS),
    ("client.keepalive-interval", NUMBERS),
    ("client.keepalive-time", NUMBERS),
    ("client.own-thread", SWITCH),
    ("client.ssl", SWITCH),
    ("client.tcp-user-timeout", NUMBERS),
    ("config.transport", &["tcp", "rdma", "tcp,rdma", "udp"]),
    ("debug.delay-gen", &["posix", "client", "off", "text"]),
    ("debug.trace", &["posix", "client", "io-stats", "off", "text"]),
    ("server.keepalive-count", NUMBERS),
    ("server.keepalive-interval", NUMBERS),
    ("server.keepalive-time", NUMBERS),
    ("server.own-thread", SWITCH),
    ("server.ssl", SWITCH),
    ("server.tcp-user-timeout", NUMBERS),
    ("transport.address-family", &["inet", "inet6", "inet", "unix"]),
    ("transport.keepalive", SWITCH),
];
/// Of options that the transport judges; docs/differences.md has the word among them.
const NUMBERS: &[&str] = &["1", "5", "42", "text"];
const SWITCH: &[&str] = &["on", "off", "off", "text"];

/// Mostly legal, sometimes at a bound, sometimes beyond.
fn value(dice: &mut Dice, opt: &Opt) -> String {
    if let Some((_, words)) = WORDS.iter().find(|(key, _)| *key == opt.key) {
        return dice.pick(words).to_owned();
    }
    let Some(declared) = &opt.declared else {
        return dice.pick(&["on", "off", "1", "60", "enable", "some-text"]).to_owned();
    };
    match declared.value {
        Value::Bool => dice.pick(&["on", "off", "on", "off", "yes", "0", "maybe"]).to_owned(),
        Value::OneOf(words) if dice.chance(85) => dice.pick(words).replace('*', "1"),
        Value::Int(range) => number(dice, range),
        Value::Size(range) => {
            let some = number(dice, range);
            dice.pick(&[some.as_str(), "64MB", "1GB", "-1"]).to_owned()
        }
        Value::Time(range) => {
            let some = number(dice, range);
            dice.pick(&[some.as_str(), "1min", "30", "x"]).to_owned()
        }
        Value::Percent | Value::PercentOrSize => {
            dice.pick(&["10%", "0", "100", "101%", "x"]).to_owned()
        }
        Value::Path => dice.pick(&["/srv", "/nosuch", "srv"]).to_owned(),
        Value::Translator => dice.pick(&["alpha-client-0", "beta-client-0", "x"]).to_owned(),
        Value::AddressList => {
            dice.pick(&["*", "node1", "10.0.0.*", "127.0.0.1,::1", "a_b"]).to_owned()
        }
        Value::PriorityList => dice.pick(&["*.txt:1", "a"]).to_owned(),
        Value::Text | Value::Anything | Value::OneOf(_) => {
            dice.pick(&["text", "1", "lazy", "on"]).to_owned()
        }
    }
}

fn number(dice: &mut Dice, range: Range) -> String {
    let (least, most) = match range {
        Range::Any => (1, 100),
        Range::AtLeast(least) | Range::From(least) => (least, least.saturating_add(100)),
        Range::Within(least, most) => (least, most),
    };
    let middle = least + (most - least) / 3;
    match dice.below(8) {
        0 => least.to_string(),
        1 => most.to_string(),
        2 => least.saturating_sub(1).to_string(),
        3 => most.saturating_add(1).to_string(),
        4 => "x".to_owned(),
        _ => middle.to_string(),
    }
}
