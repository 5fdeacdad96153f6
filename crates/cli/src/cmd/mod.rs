//! One file for each verb.

pub mod admin;
pub mod serve;

use crate::args::{Args, Verb};

/// Runs a verb.
pub async fn run(args: Args) -> anyhow::Result<()> {
    match args.verb {
        Verb::Serve(serve) => serve.run(args.quiet).await,
        Verb::Admin(admin) => admin.run().await,
    }
}
