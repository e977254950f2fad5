//! The program: installs the crypto provider and the allocator, and runs the command line.

use std::process::ExitCode;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // The dependencies compile two providers, so rustls cannot choose one itself. Only a second call fails.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    bedrock_proxy::cli::run()
}
