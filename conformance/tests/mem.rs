//! The suite on the in-memory reference implementation.

fn main() -> std::process::ExitCode {
    conformance::main(conformance::MemHarness::default())
}
