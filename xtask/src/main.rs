//! Verbs of the repository: `cargo xtask` lists them.

mod apt;
mod bench;
mod check;
mod environments;
mod fuzz;
mod licenses;
mod metadata;
mod postgres;
mod s3;
mod shell;
mod soak;
mod tally;
mod test;
mod walls;

use std::process::ExitCode;

const USAGE: &str = "\
Usage: cargo xtask VERB

  check   formatting, clippy, walls, licenses, documentation
  test    set up what is missing, then run every test
            --only PART[,PART]  of rust, xet, python, models, formats, convert, diff, trust, js, hf-hub, browser
            --write-matrix      write docs/reference/clients.md from this run
  walls   which room imports what (part of check)
  soak    the long fault tests, in release
  fuzz    every fuzz target, with the stable toolchain
            --seconds N         time of all targets together; 60 unless said
            --target NAME[,NAME]
  bench   TOPIC of transfer, read, convert, diff, scan, store: figures beside their peers, in release
            --section NAME   of store: codec, family, formats, speed, reads or memory; all unless said
            --quick          of store: a twentieth of the bytes
";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["check"] => check::check(),
        ["walls"] => walls::walls(),
        ["test", flags @ ..] => test::Options::parse(flags).and_then(|options| test::test(&options)),
        ["soak"] => soak::soak(),
        ["fuzz", flags @ ..] => fuzz::Options::parse(flags).and_then(|options| fuzz::fuzz(&options)),
        ["bench", topic, flags @ ..] => bench::bench(topic, flags),
        [] | ["help" | "-h" | "--help"] => {
            shell::say(USAGE);
            return ExitCode::SUCCESS;
        }
        _ => {
            shell::complain(USAGE);
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            shell::complain(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
