//! The `conformance` command on the in-memory model; a product links its own backends in.

fn main() -> std::process::ExitCode {
    conformance::cli(vec![Box::new(coord_api::mem::MemBackend)])
}
