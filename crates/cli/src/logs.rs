//! Logs on stderr: lines for people, or one JSON object each for machines.

use tracing_subscriber::EnvFilter;

use crate::settings::LogFormat;

/// Begins logging.
///
/// - `filter`: a level, or `tracing` directives such as `info,weighthouse_store=debug`
///
/// # Errors
/// When the filter is not understood.
pub fn start(filter: &str, format: LogFormat) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(filter)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    match format {
        LogFormat::Json => builder.json().flatten_event(true).init(),
        LogFormat::Text => {
            use std::io::IsTerminal;
            builder.with_ansi(std::io::stderr().is_terminal()).compact().init();
        }
    }
    Ok(())
}
