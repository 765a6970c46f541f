//! The worked example of `docs/new-backend.md`, with its suite.

#[path = "../examples/new_backend.rs"]
mod example;

fn main() -> std::process::ExitCode {
    example::main()
}
