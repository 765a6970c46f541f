//! The suite on five masters in processes of their own.

mod masters;

fn main() -> std::process::ExitCode {
    masters::conformance("local, five masters", 5)
}
