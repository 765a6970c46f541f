//! What a row of the option table says.
//!
//! Shapes only; the rows are in `table`, what the shapes mean to a value is in `value`.
//!
//! Facts: struct volopt_map_entry, xlators/mgmt/glusterd/src/glusterd-volgen.h; volume_option_t,
//! libglusterfs/src/glusterfs/options.h (v10.3).

/// One entry of the map: a key of `volume set` and the translator option it becomes.
#[derive(Debug)]
pub struct Opt {
    /// Full name, `domain.name`; the domain is what stands before the first dot.
    pub key: &'static str,
    /// Type of the translator that gets it, `cluster/distribute`.
    pub xlator: &'static str,
    /// Name inside the translator; where `special`, a name for the builder's eyes.
    pub option: &'static str,
    /// Written by a pass of its own (stock marks the name with `!`), not by the plain pass.
    pub special: bool,
    pub scope: Scope,
    /// Raises the volume's client-op-version too.
    pub client: bool,
    /// Says whether a translator is loaded; counts for op-versions only while on.
    pub switch: bool,
    pub reset: Reset,
    pub op_version: u32,
    /// Taken where the volume has no value, in volfiles and in `volume get`.
    pub map_default: Option<&'static str>,
    /// What the translator itself says; `None` if it does not know the option.
    pub declared: Option<Declared>,
    /// The translator's names for it, where they are not just `option`; `*` stands for anything.
    pub names: &'static [&'static str],
    /// The daemon's own check of a value, before the translator's.
    pub rule: Option<Rule>,
    pub help: Help,
}

/// A plain option of a volume; a row names what differs.
pub const OPT: Opt = Opt {
    key: "",
    xlator: "",
    option: "",
    special: false,
    scope: Scope::Volume,
    client: false,
    switch: false,
    reset: Reset::Free,
    op_version: 1,
    map_default: None,
    declared: None,
    names: &[],
    rule: None,
    help: Help::None,
};

/// Whose option it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Volume,
    /// Set on one volume, stored in all.
    EveryVolume,
    /// Of the pool: `volume set all` only.
    Pool,
}

/// What `volume reset` may do with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    Free,
    /// With `force` only.
    Forced,
    Never,
}

/// A translator's own description of an option.
#[derive(Clone, Copy, Debug)]
pub struct Declared {
    pub value: Value,
    pub default: Option<&'static str>,
}

pub const fn declared(value: Value, default: &'static str) -> Option<Declared> {
    Some(Declared { value, default: Some(default) })
}

pub const fn undefaulted(value: Value) -> Option<Declared> {
    Some(Declared { value, default: None })
}

/// What a translator accepts.
#[derive(Clone, Copy, Debug)]
pub enum Value {
    Anything,
    Text,
    /// Shell patterns.
    OneOf(&'static [&'static str]),
    Bool,
    Int(Range),
    /// Bytes, with units.
    Size(Range),
    /// Seconds, with units.
    Time(Range),
    /// 0 to 100, with or without `%`.
    Percent,
    PercentOrSize,
    Path,
    /// Name of a node of the same graph.
    Translator,
    /// Addresses, or `/dir(addresses)`, comma between them.
    AddressList,
    /// `pattern:number`, comma between them.
    PriorityList,
}

/// Bounds, inclusive.
#[derive(Clone, Copy, Debug)]
pub enum Range {
    Any,
    AtLeast(i64),
    Within(i64, i64),
    /// Like `Within`, up to infinity: the texts differ from `AtLeast`.
    From(i64),
}

/// The daemon's own checks; `rule` has what each does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    Backlog,
    Boolean,
    BricksPerProcess,
    CacheFileSizes,
    Directory,
    DisperseHeal,
    DisperseOnly,
    DisperseQuorum,
    LockMigration,
    MandatoryLocking,
    ParallelReaddir,
    QuorumCount,
    QuotaOn,
    ReaddirCache,
    RebalanceThrottle,
    ReplicaOnly,
    ReplicateHeal,
    RetentionMode,
    SnapshotDirectory,
    SubvolsPerDirectory,
    VolumesPerThread,
    WormPeriod,
}

/// What `volume set help` prints; with the text goes the default of the same source.
#[derive(Clone, Copy, Debug)]
pub enum Help {
    None,
    Map(&'static str),
    Translator(&'static str),
}
