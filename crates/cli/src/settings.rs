//! Settings of the hub: flags, then `WH_*` variables, then a TOML file, then defaults.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use serde::Deserialize;
use serde_json::json;
use weighthouse::{HubOptions, Storage};

use crate::exit::Hinted;

/// Settings as flags; each may also come from its variable or from the file
#[derive(Debug, Default, Args)]
pub struct Flags {
    /// TOML file with settings [env: WH_CONFIG]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Folder of the embedded catalog and of local storage [env: WH_DATA]
    #[arg(long, global = true, value_name = "DIR")]
    pub data: Option<String>,
    /// `postgres://…` instead of the embedded SQLite catalog [env: WH_DATABASE]
    #[arg(long, global = true, value_name = "URL")]
    pub database: Option<String>,
    /// `s3://BUCKET[/PREFIX]` instead of the data folder [env: WH_STORAGE]
    #[arg(long, global = true, value_name = "URL")]
    pub storage: Option<String>,
    /// What to log: a level or tracing directives [env: WH_LOG] [default: info]
    #[arg(long, global = true, value_name = "FILTER")]
    pub log: Option<String>,
    /// How to log: text or json [env: WH_LOG_FORMAT] [default: text]
    #[arg(long, global = true, value_name = "FORMAT")]
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
    /// Key, value and origin of each setting, for printing.
    origins: Vec<(&'static str, String, Origin)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Origin {
    Flag,
    Variable(String),
    File(PathBuf),
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// The TOML file. Every value may be written as a string; sizes and times may be plain numbers.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FileSettings {
    data: Option<Word>,
    database: Option<Word>,
    storage: Option<Word>,
    listen: Option<Word>,
    public_url: Option<Word>,
    log: Option<Word>,
    log_format: Option<Word>,
    max_regular_bytes: Option<Word>,
    max_commit_bytes: Option<Word>,
    xet_token_lifetime_s: Option<Word>,
    upload_lifetime_s: Option<Word>,
    drain_timeout_s: Option<Word>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
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
    file: Option<PathBuf>,
    origins: Vec<(&'static str, String, Origin)>,
}

impl Lookup<'_> {
    fn find<T>(
        &mut self,
        key: &'static str,
        flag: Option<String>,
        in_file: Option<Word>,
        default: Option<String>,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> anyhow::Result<Option<T>> {
        let name = format!("WH_{}", key.to_uppercase());
        let file = self.file.clone().unwrap_or_default();
        let found = flag
            .map(|value| (value, Origin::Flag))
            .or_else(|| (self.variable)(&name).filter(|v| !v.is_empty()).map(|v| (v, Origin::Variable(name))))
            .or_else(|| in_file.map(|word| (word.to_string(), Origin::File(file))))
            .or_else(|| default.map(|value| (value, Origin::Default)));
        let Some((text, origin)) = found else {
            self.origins.push((key, String::new(), Origin::Default));
            return Ok(None);
        };
        let value = read(&text).map_err(|why| Hinted {
            message: format!("setting `{key}` cannot be `{text}`: {why}"),
            hints: vec![format!("it comes from: {origin}"), "see `wh serve --help` for all settings".to_owned()],
            code: 2,
        })?;
        self.origins.push((key, text, origin));
        Ok(Some(value))
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
        let file = flags.config.or_else(|| variable("WH_CONFIG").map(PathBuf::from));
        let written: FileSettings = match &file {
            Some(path) => {
                let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
                toml::from_str(&text).with_context(|| format!("settings in {}", path.display()))?
            }
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

fn hide_password(value: &str) -> String {
    let Some((scheme, rest)) = value.split_once("://") else { return value.to_owned() };
    match rest.split_once('@') {
        Some((user, host)) => {
            let user = user.split(':').next().unwrap_or_default();
            format!("{scheme}://{user}:…@{host}")
        }
        None => value.to_owned(),
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
    let wrong = || "it must be a number of bytes, such as 10485760 or 10MiB".to_owned();
    let digits = value.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
    let unit: u64 = match value.get(digits.len()..).unwrap_or_default().trim() {
        "" | "B" => 1,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn find(flags: Flags, variables: &[(&str, &str)]) -> anyhow::Result<Settings> {
        let variable = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        Settings::find_with(flags, ServerFlags::default(), &variable)
    }

    #[test]
    fn a_flag_beats_a_variable_beats_the_file_beats_the_default() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "data = \"/file\"\nlog = \"debug\"\ndrain_timeout_s = 5\nmax_commit_bytes = \"1GiB\"\n")
            .unwrap();
        let flags = Flags { config: Some(file.path().into()), data: Some("/flag".into()), ..Flags::default() };
        let settings = find(flags, &[("WH_DATA", "/variable"), ("WH_LOG", "warn")]).unwrap();
        assert_eq!(settings.data, PathBuf::from("/flag"));
        assert_eq!(settings.log, "warn");
        assert_eq!(settings.drain_timeout, Duration::from_secs(5));
        assert_eq!(settings.max_commit_bytes, 1 << 30);
        assert_eq!(settings.listen.port(), 7070);
        let table = settings.table();
        for line in ["data ", "flag", "variable WH_LOG", "default"] {
            assert!(table.contains(line), "{table}");
        }
    }

    #[test]
    fn unknown_keys_and_bad_values_say_where_they_are() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "data = \"/x\"\nlisen = \"1\"\n").unwrap();
        let flags = Flags { config: Some(file.path().into()), ..Flags::default() };
        let error = format!("{:#}", find(flags, &[]).unwrap_err());
        assert!(error.contains("line 2") && error.contains("lisen"), "{error}");
        let error = find(Flags::default(), &[("WH_LISTEN", "nowhere")]).unwrap_err();
        let hinted = error.downcast_ref::<Hinted>().unwrap();
        assert!(hinted.message.contains("listen") && hinted.hints[0].contains("WH_LISTEN"), "{hinted:?}");
    }

    #[test]
    fn passwords_are_not_printed() {
        let settings =
            find(Flags::default(), &[("WH_DATABASE", "postgres://me:secret@host/db"), ("WH_DATA", "/x")]).unwrap();
        assert!(!settings.table().contains("secret") && !settings.json().to_string().contains("secret"));
    }

    #[test]
    fn sizes_are_read_with_their_units() {
        assert_eq!(bytes("10MiB"), Ok(10 << 20));
        assert_eq!(bytes("7"), Ok(7));
        assert!(bytes("0").is_err() && bytes("10MB").is_err() && bytes("-1").is_err() && bytes("99999999TiB").is_err());
    }
}
