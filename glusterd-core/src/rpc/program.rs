//! Program numbers, and a table form for procedure numbers.
//!
//! A new program is a constant here and a file beside this one.
//!
//! Facts: rpc/rpc-lib/src/protocol-common.h (v10.3).

/// A program and the version of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProgramId {
    pub number: u32,
    pub version: u32,
}

impl ProgramId {
    pub const DUMP: ProgramId = ProgramId { number: 123_451_501, version: 1 };
    pub const CLI: ProgramId = ProgramId { number: 1_238_463, version: 2 };
    pub const HANDSHAKE: ProgramId = ProgramId { number: 14_398_633, version: 2 };
    pub const PORTMAP: ProgramId = ProgramId { number: 34_123_456, version: 1 };
    pub const CALLBACK: ProgramId = ProgramId { number: 52_743_234, version: 1 };
    pub const JOIN: ProgramId = ProgramId { number: 24_009_062, version: 1 };
    pub const BRICK: ProgramId = ProgramId { number: 4_867_634, version: 2 };
}

/// Declares a program's procedures: a newtype over the number, a constant and a name each.
///
/// A number without a row is kept; its name is `"unknown"`.
macro_rules! procedures {
    ($(#[$meta:meta])* pub $name:ident { $( $number:literal $constant:ident ),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub u32);

        impl $name {
            $( pub const $constant: $name = $name($number); )*

            /// Every procedure with a name, by number.
            pub const ALL: &'static [$name] = &[ $( $name::$constant ),* ];

            /// The name in stock's header, without its prefix.
            pub const fn name(self) -> &'static str {
                match self.0 {
                    $( $number => stringify!($constant), )*
                    _ => "unknown",
                }
            }
        }
    };
}
