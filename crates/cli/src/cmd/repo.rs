//! `wh repo`: repositories of a hub, over the network.

use std::io::IsTerminal;

use clap::{Args, Subcommand};
use serde_json::json;
use weighthouse::RepoKind;
use weighthouse_hub::client::{Api, ListRepos, NewRepo};

use crate::exit::Hinted;
use crate::remote::{RemoteFlags, explain, own, target};
use crate::ui;

/// Arguments of `wh repo`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wh repo create team/model --private
  wh repo list --author team
  wh repo delete team/model --yes")]
pub struct Repo {
    #[command(flatten)]
    remote: RemoteFlags,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Create a repository
    Create {
        /// NAMESPACE/NAME, or datasets/NAMESPACE/NAME; a name alone is one of your own
        repo: String,
        /// Let only members of the namespace see it
        #[arg(long)]
        private: bool,
        /// Succeed if it exists already
        #[arg(long)]
        exist_ok: bool,
    },
    /// List repositories that you may see
    List {
        /// Only those of a user or an organisation
        #[arg(long, value_name = "NAMESPACE")]
        author: Option<String>,
        /// Only those with this in their id
        #[arg(long, value_name = "TEXT")]
        search: Option<String>,
        /// Datasets instead of models
        #[arg(long)]
        datasets: bool,
        /// Most entries
        #[arg(long, default_value_t = 10_000)]
        limit: usize,
    },
    /// Delete a repository and all that is in it
    Delete {
        /// NAMESPACE/NAME, or datasets/NAMESPACE/NAME
        repo: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

impl Repo {
    /// Runs the verb below `repo`.
    pub async fn run(self, quiet: bool) -> anyhow::Result<()> {
        let api = self.remote.open(quiet)?;
        match self.what {
            What::Create { repo, private, exist_ok } => create(&api, &repo, private, exist_ok, self.json).await,
            What::List { author, search, datasets, limit } => {
                let mut wanted = ListRepos::new(if datasets { RepoKind::Dataset } else { RepoKind::Model });
                (wanted.author, wanted.search, wanted.limit) = (author, search, limit);
                list(&api, &wanted, self.json).await
            }
            What::Delete { repo, yes } => delete(&api, &repo, yes, quiet, self.json).await,
        }
    }
}

async fn create(api: &Api, repo: &str, private: bool, exist_ok: bool, json: bool) -> anyhow::Result<()> {
    let repo = own(api, target(repo, None)?.0).await?;
    let mut new = NewRepo::new(repo.clone());
    (new.private, new.exist_ok) = (private, exist_ok);
    let url = api.create_repo(&new).await.map_err(|error| explain(error, Some(api)))?;
    if json {
        ui::json(&json!({
            "schema": "weighthouse.repo/1", "id": repo.id(), "kind": repo.kind().as_str(), "url": url,
        }))?;
    } else {
        ui::data(&url)?;
    }
    Ok(())
}

async fn list(api: &Api, wanted: &ListRepos, json: bool) -> anyhow::Result<()> {
    let found = api.list_repos(wanted).await.map_err(|error| explain(error, Some(api)))?;
    if json {
        let rows: Vec<_> = found
            .iter()
            .map(|repo| {
                json!({
                    "id": repo.id, "private": repo.private, "lastModified": repo.last_modified,
                    "downloads": repo.downloads, "tags": repo.tags,
                })
            })
            .collect();
        ui::json(&json!({ "schema": "weighthouse.repos/1", "kind": wanted.kind.as_str(), "repos": rows }))?;
        return Ok(());
    }
    let widest = found.iter().map(|repo| repo.id.chars().count()).max().unwrap_or(0);
    for repo in &found {
        let seen = if repo.private == Some(true) { "private" } else { "public" };
        let changed = repo.last_modified.as_deref().and_then(|date| date.get(..10)).unwrap_or_default();
        ui::data(&format!("{:<widest$}  {seen:<7}  {changed}", repo.id))?;
    }
    Ok(())
}

async fn delete(api: &Api, repo: &str, yes: bool, quiet: bool, json: bool) -> anyhow::Result<()> {
    let (repo, _) = target(repo, None)?;
    if !yes && !asked(&repo.to_string())? {
        let hints = vec!["say --yes to delete without being asked".to_owned()];
        return Err(Hinted { message: format!("`{repo}` was not deleted"), hints, code: 2 }.into());
    }
    api.delete_repo(&repo).await.map_err(|error| explain(error, Some(api)))?;
    if json {
        ui::json(&json!({ "schema": "weighthouse.deleted/1", "id": repo.id(), "kind": repo.kind().as_str() }))?;
    } else if !quiet {
        ui::note(&format!("deleted `{repo}`"));
    }
    Ok(())
}

/// Lets the user type the id; where nobody can be asked, the answer is no.
fn asked(id: &str) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Ok(false);
    }
    let terminal = console::Term::stderr();
    terminal.write_str(&format!("All files and the history of `{id}` will be lost. Type its id to delete it: "))?;
    Ok(terminal.read_line()?.trim() == id)
}
