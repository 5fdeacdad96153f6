//! One file for each verb.

pub mod admin;
pub mod adopt;
pub mod convert;
pub mod diff;
pub mod inspect;
pub mod login;
pub mod pull;
pub mod push;
pub mod repo;
pub mod scan;
pub mod serve;
pub mod verify;
pub mod whoami;

use crate::args::{Args, Verb};

/// Runs a verb.
pub async fn run(args: Args) -> anyhow::Result<()> {
    match args.verb {
        Verb::Serve(serve) => serve.run(args.quiet).await,
        Verb::Admin(admin) => admin.run(args.quiet).await,
        Verb::Login(login) => login.run(args.quiet).await,
        Verb::Whoami(whoami) => whoami.run(args.quiet).await,
        Verb::Repo(repo) => repo.run(args.quiet).await,
        Verb::Push(push) => push.run(args.quiet).await,
        Verb::Pull(pull) => pull.run(args.quiet).await,
        Verb::Inspect(inspect) => inspect.run(args.quiet).await,
        Verb::Diff(diff) => diff.run(args.quiet).await,
        Verb::Convert(convert) => convert.run(args.quiet).await,
        Verb::Verify(verify) => verify.run(args.quiet).await,
        Verb::Adopt(adopt) => adopt.run(args.quiet).await,
        Verb::Scan(scan) => scan.run(args.quiet).await,
    }
}
