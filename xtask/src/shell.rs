//! Running other programs, and talking to the terminal.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, bail};

/// Root of the repository.
pub fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

/// Prints to stdout.
#[expect(clippy::print_stdout, reason = "the one place of this program that prints data")]
pub fn say(text: &str) {
    println!("{}", text.trim_end());
}

/// Prints to stderr.
#[expect(clippy::print_stderr, reason = "the one place of this program that prints the rest")]
pub fn complain(text: &str) {
    eprintln!("{}", text.trim_end());
}

/// A command that starts in the root of the repository.
pub fn command(program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root());
    command
}

/// Runs `command` with the terminal's own streams.
///
/// # Errors
/// When it cannot start, or ends with another status than 0.
pub fn run(command: &mut Command) -> Result<()> {
    complain(&format!("$ {}", shown(command)));
    let status = command.status().with_context(|| shown(command))?;
    if !status.success() {
        bail!("`{}` ended with {status}", shown(command));
    }
    Ok(())
}

/// Runs `command` silently and returns what it printed on stdout.
///
/// # Errors
/// When it cannot start, or ends with another status than 0; its stderr is in the message.
pub fn read(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| shown(command))?;
    if !output.status.success() {
        bail!("`{}` ended with {}: {}", shown(command), output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs `command`, shows what it prints as it comes, and returns whether it succeeded and the text.
///
/// # Errors
/// When it cannot start.
pub fn watch(command: &mut Command) -> Result<(bool, String)> {
    complain(&format!("$ {}", shown(command)));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().with_context(|| shown(command))?;
    let stdout = child.stdout.take().context("stdout is piped")?;
    let stderr = child.stderr.take().context("stderr is piped")?;
    let (said, complained) = thread::scope(|scope| {
        let complained = scope.spawn(|| echo(stderr, std::io::stderr()));
        (echo(stdout, std::io::stdout()), complained.join())
    });
    let complained = complained.map_err(|_| anyhow::anyhow!("reading stderr"))??;
    Ok((child.wait()?.success(), said? + &complained))
}

fn echo(from: impl Read, mut to: impl Write) -> Result<String> {
    let mut text = String::new();
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line)? > 0 {
        to.write_all(&line)?;
        text.push_str(&String::from_utf8_lossy(&line));
        line.clear();
    }
    Ok(text)
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
