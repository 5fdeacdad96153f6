//! The program `wh`: a hub for AI checkpoints, and its client.

#![forbid(unsafe_code)]

mod args;
mod cmd;
mod credentials;
mod exit;
mod logs;
mod place;
mod progress;
mod remote;
mod settings;
mod ui;
mod words;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let args = args::Args::parse();
    // TLS towards S3 and other hubs; without a provider the first such connection would panic.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        return exit::report(&anyhow::anyhow!("the TLS library was set up twice"));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(cmd::run(args)),
        Err(error) => Err(anyhow::Error::new(error).context("starting the runtime")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit::report(&error),
    }
}
