//! Which hub a verb talks to, and as whom.
//!
//! - hub: `--endpoint`, `WH_ENDPOINT`, `HF_ENDPOINT`, what `wh login` chose, `http://127.0.0.1:7070`
//! - token: `--token`, `HF_TOKEN`, what `wh login` keeps for that very hub, and the file of `hf auth login` when
//!   `HF_ENDPOINT` chose the hub, as the `hf` tools would use it. A token kept for one hub never goes to another.

use std::path::PathBuf;

use clap::Args;
use weighthouse::ErrorKind;
use weighthouse_hub::client::{Api, ApiOptions, ClientError, RepoRef};

use crate::exit::{Hinted, code_of};
use crate::{credentials, logs};

/// The hub that `wh serve` starts by default.
const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:7070";

/// Which hub
#[derive(Clone, Debug, Default, Args)]
pub struct RemoteFlags {
    /// Address of the hub [env: WH_ENDPOINT, HF_ENDPOINT] [default: what `wh login` chose]
    #[arg(long, value_name = "URL", global = true)]
    pub endpoint: Option<String>,
    /// Token to use [env: HF_TOKEN] [default: what `wh login` keeps]
    #[arg(long, value_name = "TOKEN", global = true, hide_env_values = true)]
    pub token: Option<String>,
}

type Variable<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Looks a variable up in the environment.
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}

impl RemoteFlags {
    /// Opens the hub.
    ///
    /// # Errors
    /// When the address or the token makes no sense, or the kept login is damaged.
    pub fn open(&self, quiet: bool) -> anyhow::Result<Api> {
        let level = variable("WH_LOG").unwrap_or_else(|| if quiet { "error" } else { "warn" }.to_owned());
        logs::start(&level, crate::settings::LogFormat::Text)?;
        let options = self.resolve(&variable)?;
        Api::new(options).map_err(|error| explain(error, None))
    }

    fn resolve(&self, variable: Variable<'_>) -> anyhow::Result<ApiOptions> {
        let kept = credentials::read(&credentials::place(variable)?);
        // A damaged login matters only if it is needed.
        let (kept, damage) = kept.map_or_else(|error| (None, Some(error)), |kept| (kept, None));
        let by_hf = self.endpoint.is_none() && variable("WH_ENDPOINT").is_none() && variable("HF_ENDPOINT").is_some();
        let chosen = self.endpoint.clone().or_else(|| variable("WH_ENDPOINT")).or_else(|| variable("HF_ENDPOINT"));
        let named_token = self.token.clone().or_else(|| variable("HF_TOKEN"));
        if let Some(damage) = damage
            && (chosen.is_none() || named_token.is_none())
        {
            return Err(damage);
        }
        let endpoint = chosen.or_else(|| kept.as_ref().map(|login| login.endpoint.clone()));
        let mut options = ApiOptions::new(endpoint.unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned()));
        let same = |login: &credentials::Login| trimmed(&login.endpoint) == trimmed(&options.endpoint);
        options.token = named_token
            .or_else(|| kept.filter(same).map(|login| login.token))
            .or_else(|| if by_hf { hf_token(variable) } else { None })
            .map(|token| token.trim().to_owned());
        Ok(options)
    }
}

fn trimmed(endpoint: &str) -> &str {
    endpoint.trim().trim_end_matches('/')
}

/// The home of the Hugging Face clients.
pub fn hf_home(variable: Variable<'_>) -> Option<PathBuf> {
    variable("HF_HOME").map(PathBuf::from).or_else(|| {
        let cache = variable("XDG_CACHE_HOME").map(PathBuf::from);
        Some(cache.or_else(|| dirs::home_dir().map(|home| home.join(".cache")))?.join("huggingface"))
    })
}

/// The token of `hf auth login`.
fn hf_token(variable: Variable<'_>) -> Option<String> {
    if variable("HF_HUB_DISABLE_IMPLICIT_TOKEN").is_some_and(|value| value != "0") {
        return None;
    }
    let place = variable("HF_TOKEN_PATH").map(PathBuf::from).or_else(|| Some(hf_home(variable)?.join("token")))?;
    std::fs::read_to_string(place).ok().map(|token| token.trim().to_owned()).filter(|token| !token.is_empty())
}

/// Folder for notes of transfers: `WH_CACHE`, or the cache folder of this system.
pub fn cache(variable: Variable<'_>) -> Option<PathBuf> {
    variable("WH_CACHE").map(PathBuf::from).or_else(|| dirs::cache_dir().map(|dir| dir.join("weighthouse")))
}

/// Reads `REPO[@REVISION]`.
///
/// # Errors
/// When the id breaks a rule, or the revision is empty or given twice.
pub fn target(text: &str, revision: Option<&str>) -> anyhow::Result<(RepoRef, Option<String>)> {
    let wrong = |message: String| Hinted {
        message,
        hints: vec!["write NAMESPACE/NAME, datasets/NAMESPACE/NAME, or either with @REVISION".to_owned()],
        code: 2,
    };
    let (id, at) = match text.split_once('@') {
        Some((id, at)) => (id, Some(at)),
        None => (text, None),
    };
    let revision = match (at, revision) {
        (Some(_), Some(_)) => return Err(wrong(format!("`{text}` and --revision both name a revision")).into()),
        (Some(""), None) => return Err(wrong(format!("`{text}` names no revision after the @")).into()),
        (at, revision) => at.or(revision).map(str::to_owned),
    };
    Ok((id.parse().map_err(|error: ClientError| wrong(error.to_string()))?, revision))
}

/// A repository that is written to: a name alone means one of the caller's own.
///
/// # Errors
/// Those of asking the hub who the caller is.
pub async fn own(api: &Api, repo: RepoRef) -> anyhow::Result<RepoRef> {
    if repo.id().contains('/') {
        return Ok(repo);
    }
    let me = api.whoami().await.map_err(|error| explain(error, None))?;
    RepoRef::new(repo.kind(), format!("{}/{}", me.name, repo.id())).map_err(|error| explain(error, None))
}

/// An error of a transfer, with a way out.
pub fn explain(error: ClientError, api: Option<&Api>) -> anyhow::Error {
    use weighthouse_hub::wire::error::ErrorCode;
    let mut hints = Vec::new();
    if let ClientError::Connection { .. } = &error
        && let Some(api) = api
    {
        hints.push(format!("the hub is {}; choose another with --endpoint or `wh login`", api.base()));
    }
    match (error.kind(), error.code()) {
        (ErrorKind::Denied, _) if api.is_some_and(|api| !api.has_token()) => {
            hints.push("log in with `wh login`, or set HF_TOKEN".to_owned());
        }
        (ErrorKind::Denied, _) if error.status() == Some(401) => {
            hints.push("the token is not valid on this hub: log in again with `wh login`".to_owned());
        }
        (ErrorKind::Denied, _) if error.status() == Some(403) => {
            hints.push("ask an administrator of the hub, or use a token with the scope `write`".to_owned());
        }
        (_, Some(ErrorCode::RepoNotFound)) => {
            hints.push("`wh repo list` shows what you may see; `wh push --create` makes a new one".to_owned());
        }
        (_, Some(ErrorCode::RevisionNotFound)) => {
            hints.push("name a branch, a tag or a commit with --revision".to_owned());
        }
        (ErrorKind::Transient, _) => hints.push("run the same command again: it goes on where it broke off".to_owned()),
        (ErrorKind::Full, _) => {
            hints.push("make room and run the same command again: it goes on where it was".to_owned())
        }
        _ => {}
    }
    match &error {
        ClientError::Changed { .. } => hints.push("push again when nothing writes to the folder".to_owned()),
        ClientError::UnsafePath { .. } => hints.push("leave such files out with --exclude".to_owned()),
        ClientError::Input(message) if message.contains("cannot be pushed") => {
            hints.push("leave them out with --exclude, or follow links with --follow-links".to_owned());
        }
        _ => {}
    }
    Hinted { code: code_of(error.kind()), message: error.to_string(), hints }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place {
        folder: tempfile::TempDir,
        variables: Vec<(&'static str, String)>,
    }

    impl Place {
        fn new(variables: &[(&'static str, &str)]) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let mut all = vec![
                ("WH_CONFIG_DIR", folder.path().display().to_string()),
                ("HF_HOME", folder.path().display().to_string()),
            ];
            all.extend(variables.iter().map(|(name, value)| (*name, (*value).to_owned())));
            std::fs::write(folder.path().join("token"), "hf_of_hf\n").unwrap();
            let login = credentials::Login { endpoint: "http://kept/".into(), token: "hf_kept".into() };
            credentials::write(&folder.path().join("login.toml"), &login).unwrap();
            Self { folder, variables: all }
        }

        fn resolve(&self, endpoint: Option<&str>, token: Option<&str>) -> anyhow::Result<(String, Option<String>)> {
            let flags = RemoteFlags { endpoint: endpoint.map(Into::into), token: token.map(Into::into) };
            let look = |name: &str| self.variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.clone());
            flags.resolve(&look).map(|options| (options.endpoint, options.token))
        }
    }

    fn is(endpoint: &str, token: Option<&str>) -> (String, Option<String>) {
        (endpoint.to_owned(), token.map(str::to_owned))
    }

    #[test]
    fn a_token_goes_only_to_the_hub_it_is_for() {
        let plain = Place::new(&[]);
        assert_eq!(plain.resolve(None, None).unwrap(), is("http://kept/", Some("hf_kept")));
        assert_eq!(plain.resolve(Some("http://kept"), None).unwrap(), is("http://kept", Some("hf_kept")));
        assert_eq!(plain.resolve(Some("http://other"), None).unwrap(), is("http://other", None));
        assert_eq!(plain.resolve(Some("http://other"), Some("hf_t")).unwrap(), is("http://other", Some("hf_t")));

        let hf = Place::new(&[("HF_ENDPOINT", "http://hf")]);
        assert_eq!(hf.resolve(None, None).unwrap(), is("http://hf", Some("hf_of_hf")));
        assert_eq!(hf.resolve(Some("http://other"), None).unwrap(), is("http://other", None));

        let named = Place::new(&[("HF_ENDPOINT", "http://hf"), ("HF_TOKEN", " hf_named ")]);
        assert_eq!(named.resolve(None, None).unwrap(), is("http://hf", Some("hf_named")));

        let ours = Place::new(&[("WH_ENDPOINT", "http://kept"), ("HF_ENDPOINT", "http://hf")]);
        assert_eq!(ours.resolve(None, None).unwrap(), is("http://kept", Some("hf_kept")));

        let implicit = Place::new(&[("HF_ENDPOINT", "http://hf"), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]);
        assert_eq!(implicit.resolve(None, None).unwrap(), is("http://hf", None));
    }

    #[test]
    fn without_a_login_the_default_hub_is_meant() {
        let place = Place::new(&[]);
        std::fs::remove_file(place.folder.path().join("login.toml")).unwrap();
        assert_eq!(place.resolve(None, None).unwrap(), is(DEFAULT_ENDPOINT, None));
        std::fs::write(place.folder.path().join("login.toml"), "damage").unwrap();
        assert!(place.resolve(None, None).is_err());
        assert_eq!(place.resolve(Some("http://a"), Some("t")).unwrap(), is("http://a", Some("t")));
    }

    #[test]
    fn targets_name_a_repository_and_perhaps_a_revision() {
        let read = |text: &str, revision| {
            target(text, revision).map(|(repo, revision)| (repo.to_string(), revision.unwrap_or_default())).ok()
        };
        let is = |id: &str, revision: &str| Some((id.to_owned(), revision.to_owned()));
        assert_eq!(read("a/b", None), is("a/b", ""));
        assert_eq!(read("hub:a/b@v1", None), is("a/b", "v1"));
        assert_eq!(read("datasets/a/b", Some("feat/x")), is("datasets/a/b", "feat/x"));
        for bad in ["a/b@", "", "a//b", "../b"] {
            assert_eq!(read(bad, None), None, "{bad}");
        }
        assert_eq!(read("a/b@x", Some("y")), None);
    }
}
