//! The suite on an in-memory cluster whose watches come back by snapshot, never by resumption.

fn main() -> std::process::ExitCode {
    conformance::main(conformance::MemHarness::without_history())
}
