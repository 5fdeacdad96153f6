//! Logs on stderr: lines for people, or one JSON object each for machines.

use tracing_subscriber::EnvFilter;

use crate::settings::LogFormat;

/// Begins logging; a second call changes nothing.
///
/// - `filter`: a level, or `tracing` directives such as `info,weighthouse_store=debug`
///
/// # Errors
/// When the filter is not understood.
pub fn start(filter: &str, format: LogFormat) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(filter)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    // Whoever reads from two hubs opens each.
    let _ = match format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Text => {
            use std::io::IsTerminal;
            builder.with_ansi(std::io::stderr().is_terminal()).compact().try_init()
        }
    };
    Ok(())
}
