//! Settings of the hub: flags, then `WH_*` variables, then a TOML file, then defaults.

#[cfg(test)]
mod tests;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use serde::Deserialize;
use serde_json::json;
use toml::Spanned;
use weighthouse::repack::{Level, RepackPolicy};
use weighthouse::{HubOptions, Storage};

use crate::exit::Hinted;

/// Head of the settings that every order has, below the order's own options.
const HEADING: &str = "Data and logs";

/// Settings as flags; each may also come from its variable or from the file
#[derive(Clone, Debug, Default, Args)]
pub struct Flags {
    /// TOML file with settings [env: WH_CONFIG]
    #[arg(long, global = true, help_heading = HEADING, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Folder of the embedded catalog and of local storage [env: WH_DATA]
    #[arg(long, global = true, help_heading = HEADING, value_name = "DIR")]
    pub data: Option<String>,
    /// `postgres://…` instead of the embedded SQLite catalog [env: WH_DATABASE]
    #[arg(long, global = true, help_heading = HEADING, value_name = "URL")]
    pub database: Option<String>,
    /// `s3://BUCKET[/PREFIX]` instead of the data folder [env: WH_STORAGE]
    #[arg(long, global = true, help_heading = HEADING, value_name = "URL")]
    pub storage: Option<String>,
    /// What to log: a level or tracing directives [env: WH_LOG] [default: info]
    #[arg(long, global = true, help_heading = HEADING, value_name = "FILTER")]
    pub log: Option<String>,
    /// How to log: text or json [env: WH_LOG_FORMAT] [default: text]
    #[arg(long, global = true, help_heading = HEADING, value_name = "FORMAT")]
    pub log_format: Option<String>,
}

/// Settings of the server as flags
#[derive(Debug, Default, Args)]
pub struct ServerFlags {
    /// Address to listen on; port 0 takes any free one [env: WH_LISTEN] [default: 127.0.0.1:7070]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// Address that clients use, when a proxy stands before the hub [env: WH_PUBLIC_URL]
    #[arg(long, value_name = "URL")]
    pub public_url: Option<String>,
    /// Largest file inside a commit; larger ones travel on their own [env: WH_MAX_REGULAR_BYTES] [default: 10MiB]
    #[arg(long, value_name = "BYTES")]
    pub max_regular_bytes: Option<String>,
    /// Largest commit body [env: WH_MAX_COMMIT_BYTES] [default: 512MiB]
    #[arg(long, value_name = "BYTES")]
    pub max_commit_bytes: Option<String>,
    /// How long a Xet token is good for, in seconds [env: WH_XET_TOKEN_LIFETIME_S] [default: 900]
    #[arg(long, value_name = "SECONDS")]
    pub xet_token_lifetime_s: Option<String>,
    /// How long an unfinished upload is kept, in seconds [env: WH_UPLOAD_LIFETIME_S] [default: 86400]
    #[arg(long, value_name = "SECONDS")]
    pub upload_lifetime_s: Option<String>,
    /// How long running transfers may take to finish at shutdown, in seconds [env: WH_DRAIN_TIMEOUT_S] [default: 30]
    #[arg(long, value_name = "SECONDS")]
    pub drain_timeout_s: Option<String>,
    /// What to do with stored files in the background: off, light (code each by itself) or full (also as differences to
    /// others) [env: WH_REPACK] [default: full]
    #[arg(long, value_name = "POLICY")]
    pub repack: Option<String>,
    /// How much time that spends for size: fast, or cold for archives, which are read several times slower [env:
    /// WH_REPACK_LEVEL] [default: fast]
    #[arg(long, value_name = "LEVEL")]
    pub repack_level: Option<String>,
    /// How much of one core that may take, in per cent [env: WH_REPACK_CPU_PERCENT] [default: 50]
    #[arg(long, value_name = "PERCENT")]
    pub repack_cpu_percent: Option<String>,
    /// Room for plain copies of the files that are read most, below the data folder; 0 makes none [env: WH_HOT_BYTES]
    /// [default: 0]
    #[arg(long, value_name = "BYTES")]
    pub hot_bytes: Option<String>,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object for each line.
    Json,
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("it must be `text` or `json`".to_owned()),
        }
    }
}

/// The settings in force.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Folder of the embedded catalog and of local storage.
    pub data: PathBuf,
    /// PostgreSQL, if any.
    pub database: Option<String>,
    /// Where the bytes go.
    pub storage: Storage,
    /// Address to listen on.
    pub listen: SocketAddr,
    /// Address that clients use.
    pub public_url: Option<String>,
    /// What to log.
    pub log: String,
    /// How to log.
    pub log_format: LogFormat,
    /// Largest file inside a commit, in bytes.
    pub max_regular_bytes: u64,
    /// Largest commit body, in bytes.
    pub max_commit_bytes: u64,
    /// How long a Xet token is good for.
    pub xet_token_lifetime: Duration,
    /// How long an unfinished upload is kept.
    pub upload_lifetime: Duration,
    /// How long running transfers may take to finish at shutdown.
    pub drain_timeout: Duration,
    /// What is done with stored files in the background.
    pub repack: RepackPolicy,
    /// How much time that spends for size.
    pub repack_level: Level,
    /// How much of one core that may take, more than 0 and at most 1.
    pub repack_share: f64,
    /// Room for plain copies of the files that are read most, in bytes.
    pub hot_bytes: u64,
    /// Key, value and origin of each setting, for printing.
    origins: Vec<(&'static str, String, Origin)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Origin {
    Flag,
    Variable(String),
    File { path: PathBuf, line: usize },
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::File { path, line } => write!(f, "file {}, line {line}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// The TOML file. Every value may be written as a string; sizes and times may be plain numbers.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FileSettings {
    data: Written,
    database: Written,
    storage: Written,
    listen: Written,
    public_url: Written,
    log: Written,
    log_format: Written,
    max_regular_bytes: Written,
    max_commit_bytes: Written,
    xet_token_lifetime_s: Written,
    upload_lifetime_s: Written,
    drain_timeout_s: Written,
    repack: Written,
    repack_level: Written,
    repack_cpu_percent: Written,
    hot_bytes: Written,
}

/// A value and where it stands in the file.
type Written = Option<Spanned<Word>>;

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a string or a number")]
enum Word {
    Number(u64),
    Text(String),
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// Looks a setting up in all places and remembers where it was found.
struct Lookup<'a> {
    variable: &'a dyn Fn(&str) -> Option<String>,
    /// Path and text of the file, if there is one.
    file: Option<(&'a Path, &'a str)>,
    origins: Vec<(&'static str, String, Origin)>,
}

impl Lookup<'_> {
    fn find<T>(
        &mut self,
        key: &'static str,
        flag: Option<String>,
        in_file: Written,
        default: Option<String>,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> anyhow::Result<Option<T>> {
        let name = format!("WH_{}", key.to_uppercase());
        let found = flag
            .map(|value| (value, Origin::Flag))
            .or_else(|| (self.variable)(&name).filter(|v| !v.is_empty()).map(|v| (v, Origin::Variable(name))))
            .or_else(|| in_file.map(|word| self.in_file(&word)))
            .or_else(|| default.map(|value| (value, Origin::Default)));
        let Some((text, origin)) = found else {
            self.origins.push((key, String::new(), Origin::Default));
            return Ok(None);
        };
        let value = read(&text).map_err(|why| Hinted {
            message: format!("setting `{key}` cannot be `{}`: {why}", hide_password(&text)),
            hints: vec![format!("it comes from: {origin}"), "see `wh serve --help` for all settings".to_owned()],
            code: 2,
        })?;
        self.origins.push((key, text, origin));
        Ok(Some(value))
    }

    /// A value of the file with its line, counted from 1.
    fn in_file(&self, word: &Spanned<Word>) -> (String, Origin) {
        let (path, text) = self.file.unwrap_or((Path::new(""), ""));
        let before = text.get(..word.span().start).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        (word.as_ref().to_string(), Origin::File { path: path.to_owned(), line })
    }
}

impl Settings {
    /// Finds all settings.
    ///
    /// # Errors
    /// When a value is not understood or the file has an unknown key; the message says where.
    pub fn find(flags: Flags, server: ServerFlags) -> anyhow::Result<Self> {
        Self::find_with(flags, server, &|name| std::env::var(name).ok())
    }

    fn find_with(flags: Flags, server: ServerFlags, variable: &dyn Fn(&str) -> Option<String>) -> anyhow::Result<Self> {
        let config = || variable("WH_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from);
        let file = match flags.config.or_else(config) {
            Some(path) => {
                let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
                Some((path, text))
            }
            None => None,
        };
        let file = file.as_ref().map(|(path, text)| (path.as_path(), text.as_str()));
        let written: FileSettings = match file {
            Some((path, text)) => toml::from_str(text).map_err(|error| unreadable(path, text, &error))?,
            None => FileSettings::default(),
        };
        let mut look = Lookup { variable, file, origins: Vec::new() };
        let text = |value: &str| Ok(value.to_owned());
        let needed = "has a default";
        let home = dirs::data_dir().map(|dir| dir.join("weighthouse").display().to_string());
        let settings = Self {
            data: look
                .find("data", flags.data, written.data, home, |v| Ok(PathBuf::from(v)))?
                .context("no data folder is known on this system: give one with `--data`")?,
            database: look.find("database", flags.database, written.database, None, database)?,
            storage: look
                .find("storage", flags.storage, written.storage, Some("folder".to_owned()), storage)?
                .context(needed)?,
            listen: look
                .find("listen", server.listen, written.listen, Some("127.0.0.1:7070".to_owned()), |v| {
                    v.parse().map_err(|_| "it must be ADDRESS:PORT, such as 0.0.0.0:7070".to_owned())
                })?
                .context(needed)?,
            public_url: look.find("public_url", server.public_url, written.public_url, None, public_url)?,
            log: look.find("log", flags.log, written.log, Some("info".to_owned()), text)?.context(needed)?,
            log_format: look
                .find("log_format", flags.log_format, written.log_format, Some("text".to_owned()), str::parse)?
                .context(needed)?,
            max_regular_bytes: look
                .find(
                    "max_regular_bytes",
                    server.max_regular_bytes,
                    written.max_regular_bytes,
                    Some("10MiB".to_owned()),
                    bytes,
                )?
                .context(needed)?,
            max_commit_bytes: look
                .find(
                    "max_commit_bytes",
                    server.max_commit_bytes,
                    written.max_commit_bytes,
                    Some("512MiB".to_owned()),
                    bytes,
                )?
                .context(needed)?,
            xet_token_lifetime: look
                .find(
                    "xet_token_lifetime_s",
                    server.xet_token_lifetime_s,
                    written.xet_token_lifetime_s,
                    Some("900".to_owned()),
                    seconds,
                )?
                .context(needed)?,
            upload_lifetime: look
                .find(
                    "upload_lifetime_s",
                    server.upload_lifetime_s,
                    written.upload_lifetime_s,
                    Some("86400".to_owned()),
                    seconds,
                )?
                .context(needed)?,
            drain_timeout: look
                .find(
                    "drain_timeout_s",
                    server.drain_timeout_s,
                    written.drain_timeout_s,
                    Some("30".to_owned()),
                    seconds,
                )?
                .context(needed)?,
            repack: look
                .find("repack", server.repack, written.repack, Some("full".to_owned()), str::parse)?
                .context(needed)?,
            repack_level: look
                .find("repack_level", server.repack_level, written.repack_level, Some("fast".to_owned()), str::parse)?
                .context(needed)?,
            repack_share: look
                .find(
                    "repack_cpu_percent",
                    server.repack_cpu_percent,
                    written.repack_cpu_percent,
                    Some("50".to_owned()),
                    share,
                )?
                .context(needed)?,
            hot_bytes: look
                .find("hot_bytes", server.hot_bytes, written.hot_bytes, Some("0".to_owned()), room)?
                .context(needed)?,
            origins: Vec::new(),
        };
        Ok(Self { origins: look.origins, ..settings })
    }

    /// How to open the hub.
    ///
    /// - `exclusive`: whether this process serves
    pub fn hub_options(&self, exclusive: bool) -> HubOptions {
        let mut options = HubOptions::new(&self.data);
        options.database.clone_from(&self.database);
        options.storage = self.storage.clone();
        options.exclusive = exclusive;
        options.max_regular_bytes = self.max_regular_bytes;
        options.upload_lifetime = self.upload_lifetime;
        options.repack = self.repack;
        options.repack_level = self.repack_level;
        options.repack_share = self.repack_share;
        options.hot_bytes = self.hot_bytes;
        options
    }

    /// Each setting, its value and where it came from, one a line; passwords in addresses are hidden.
    pub fn table(&self) -> String {
        let row = |(key, value, origin): &(&str, String, Origin)| {
            let shown = if value.is_empty() { "(none)".to_owned() } else { hide_password(value) };
            format!("{key:<22} {shown:<40} {origin}")
        };
        self.origins.iter().map(row).collect::<Vec<_>>().join("\n")
    }

    /// The same as JSON.
    pub fn json(&self) -> serde_json::Value {
        let row = |(key, value, origin): &(&str, String, Origin)| {
            ((*key).to_owned(), json!({ "value": hide_password(value), "origin": origin.to_string() }))
        };
        json!({
            "schema": "weighthouse.settings/1",
            "settings": self.origins.iter().map(row).collect::<serde_json::Map<_, _>>(),
        })
    }
}

/// Names the line without quoting it: what stands there may be a password.
fn unreadable(path: &Path, text: &str, error: &toml::de::Error) -> Hinted {
    let start = error.span().map_or(0, |span| span.start);
    let line = text.get(..start).unwrap_or_default().matches('\n').count() + 1;
    Hinted {
        message: format!("{}, line {line}: {}", path.display(), error.message()),
        hints: vec!["see `wh serve --print-config` without the file for all settings".to_owned()],
        code: 2,
    }
}

/// Hides the password of an address: before the last `@` of its authority, and in its query.
fn hide_password(value: &str) -> String {
    let Some((scheme, rest)) = value.split_once("://") else { return value.to_owned() };
    let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
    // A password may contain `@` and `/`, so everything before the last `@` is taken for it.
    let address = match address.rsplit_once('@') {
        Some((user, host)) => {
            let user = user.split(':').next().unwrap_or_default();
            format!("{user}:…@{host}")
        }
        None => address.to_owned(),
    };
    // `?` may also stand unencoded in a password, and then the rest of it looks like a query.
    let query = match query.rsplit_once('@') {
        Some(_) => "?…".to_owned(),
        None if query.is_empty() => String::new(),
        None => format!("?{}", query.split('&').map(hide_parameter).collect::<Vec<_>>().join("&")),
    };
    let address = if query == "?…" { "…" } else { address.as_str() };
    format!("{scheme}://{address}{query}")
}

fn hide_parameter(pair: &str) -> String {
    match pair.split_once('=') {
        Some((key, _)) if key.to_ascii_lowercase().contains("password") => format!("{key}=…"),
        _ => pair.to_owned(),
    }
}

fn database(value: &str) -> Result<String, String> {
    if value.starts_with("postgres://") || value.starts_with("postgresql://") {
        return Ok(value.to_owned());
    }
    Err("it must begin with `postgres://`; without it the catalog is SQLite in the data folder".to_owned())
}

fn storage(value: &str) -> Result<Storage, String> {
    match value {
        "folder" => Ok(Storage::Folder),
        _ if value.starts_with("s3://") && value.len() > 5 => Ok(Storage::S3(value.to_owned())),
        _ => Err("it must be `folder` or `s3://BUCKET[/PREFIX]`".to_owned()),
    }
}

fn public_url(value: &str) -> Result<String, String> {
    if value.starts_with("http://") || value.starts_with("https://") {
        return Ok(value.trim_end_matches('/').to_owned());
    }
    Err("it must begin with `http://` or `https://`".to_owned())
}

fn bytes(value: &str) -> Result<u64, String> {
    let wrong = || "it must be a number of bytes, such as 10485760, 10MiB or 10MB".to_owned();
    let digits = value.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
    let unit: u64 = match value.get(digits.len()..).unwrap_or_default().trim() {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return Err(wrong()),
    };
    let count: u64 = digits.parse().map_err(|_| wrong())?;
    count.checked_mul(unit).filter(|&bytes| bytes > 0).ok_or_else(wrong)
}

fn seconds(value: &str) -> Result<Duration, String> {
    let count: u64 = value.parse().map_err(|_| "it must be a number of seconds".to_owned())?;
    Ok(Duration::from_secs(count))
}

/// A number of bytes that may be none.
fn room(value: &str) -> Result<u64, String> {
    if value == "0" { Ok(0) } else { bytes(value) }
}

/// A share of one core.
fn share(value: &str) -> Result<f64, String> {
    let percent: u8 = value.parse().map_err(|_| "it must be a number of per cent".to_owned())?;
    if (1..=100).contains(&percent) {
        return Ok(f64::from(percent) / 100.0);
    }
    Err("it must be 1 to 100 per cent; `--repack off` turns repacking off".to_owned())
}
