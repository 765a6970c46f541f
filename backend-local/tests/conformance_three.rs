//! The suite on three masters in processes of their own.

mod masters;

fn main() -> std::process::ExitCode {
    masters::conformance("local, three masters", 3)
}
