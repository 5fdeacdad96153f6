//! The command line as a whole; each verb's own arguments stand beside the verb.

use clap::{Parser, Subcommand};

use crate::cmd;

/// Keep, share and prove AI checkpoints: a hub that Hugging Face clients use unchanged
#[derive(Debug, Parser)]
#[command(name = "wh", version, propagate_version = true, arg_required_else_help = true)]
pub struct Args {
    /// Say less: no progress, no hints
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// What to do
    #[command(subcommand)]
    pub verb: Verb,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run the hub
    Serve(cmd::serve::Serve),
    /// Manage users, organisations, tokens and repositories of a hub on this machine
    Admin(cmd::admin::Admin),
    /// Choose a hub and prove who you are
    Login(cmd::login::Login),
    /// Show whom the hub takes you for
    Whoami(cmd::whoami::Whoami),
    /// Create, list and delete repositories of a hub
    Repo(cmd::repo::Repo),
    /// Send a folder to a repository, only what the hub lacks
    Push(cmd::push::Push),
    /// Fetch a repository into a folder, only what is missing
    Pull(cmd::pull::Pull),
    /// Show what is in a checkpoint, without running anything of it
    Inspect(cmd::inspect::Inspect),
    /// Say what changed between two checkpoints, whatever their formats
    Diff(cmd::diff::Diff),
    /// Write a checkpoint in another form, complete or not at all
    Convert(Box<cmd::convert::Convert>),
    /// Check a converted checkpoint against its record
    Verify(cmd::verify::Verify),
    /// Find models that lie on this machine, what is there twice, and take them into a store
    Adopt(Box<cmd::adopt::Adopt>),
    /// Tell what a checkpoint could do when it is loaded, without loading it
    Scan(cmd::scan::Scan),
}
