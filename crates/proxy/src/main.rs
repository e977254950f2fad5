//! The program: crypto before configuration, configuration before ports; the rest is in the library.

use std::process::ExitCode;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Named here, because two providers in one program make rustls refuse to choose. Only a second call fails.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    bedrock_proxy::cli::run()
}
