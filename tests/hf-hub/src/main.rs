//! Drives hf-hub: see `harness/drivers.py` for the protocol.

mod operations;

use std::io::{BufRead, Write};

use anyhow::Result;
use serde_json::json;

use operations::Driver;

fn main() -> Result<()> {
    let driver = Driver::from_env()?;
    for line in std::io::stdin().lock().lines() {
        let answer = match driver.carry_out(line?.trim()) {
            Some(Ok(())) => json!({"outcome": "passed"}),
            Some(Err(error)) => json!({"outcome": "failed", "detail": format!("{error:?}")}),
            None => json!({"outcome": "not applicable", "detail": "the client has no such operation"}),
        };
        let mut stdout = std::io::stdout().lock();
        writeln!(stdout, "{answer}")?;
        stdout.flush()?;
    }
    Ok(())
}
