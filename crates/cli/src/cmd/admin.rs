//! `wh admin`: users, organisations, tokens and repositories of a hub on this machine.
//!
//! Works on the catalog directly, beside a running server or without one.

mod advisory;
mod audit;
mod fsck;
mod gc;
mod policy;
mod quarantine;
mod repack;
mod retention;
mod stats;

use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use weighthouse::access::Caller;
use weighthouse::account::{NewAccount, NewToken};
use weighthouse::names::kind_and_id;
use weighthouse::repos::NewRepo;
use weighthouse::{AccountKind, Hub, RepoKind, Role, Scope};

use crate::settings::{Flags, ServerFlags, Settings};
use crate::{exit, ui};

/// Arguments of `wh admin`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wh admin user add ada
  wh admin token add ada --scope write
  wh admin org add lab
  wh admin org member lab ada --role write
  wh admin repack --status
  wh admin advisory import ./advisories")]
pub struct Admin {
    #[command(flatten)]
    flags: Flags,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Manage users
    #[command(subcommand)]
    User(User),
    /// Manage organisations
    #[command(subcommand)]
    Org(Org),
    /// Manage access tokens
    #[command(subcommand)]
    Token(Token),
    /// Manage repositories
    #[command(subcommand)]
    Repo(Repo),
    /// Code stored files anew, or see where that stands
    Repack(repack::Repack),
    /// Manage the policies that decide who may do what with which file
    #[command(subcommand)]
    Policy(policy::Policy),
    /// Read the audit log
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Manage files that nobody gets
    #[command(subcommand)]
    Quarantine(quarantine::Quarantine),
    /// Manage advisories: what is known to be wrong with files that are stored
    #[command(subcommand)]
    Advisory(advisory::Advisory),
    /// Show how much is stored
    Stats,
    /// Remove what nothing needs: a plan first, then --execute
    Gc(gc::Gc),
    /// Check everything that is stored
    Fsck(fsck::Fsck),
    /// Manage what repositories keep
    #[command(subcommand)]
    Retention(retention::Retention),
}

#[derive(Debug, Subcommand)]
enum User {
    /// Add a user
    Add {
        /// Name, unique without regard to case
        name: String,
        /// Name for display
        #[arg(long)]
        fullname: Option<String>,
        /// Mail address, which appears in commits
        #[arg(long)]
        email: Option<String>,
        /// Let the user administrate the hub
        #[arg(long)]
        admin: bool,
    },
    /// List users
    List,
}

#[derive(Debug, Subcommand)]
enum Org {
    /// Add an organisation
    Add {
        /// Name, unique without regard to case
        name: String,
        /// Name for display
        #[arg(long)]
        fullname: Option<String>,
    },
    /// List organisations
    List,
    /// Give a user a role in an organisation
    Member {
        /// Organisation
        org: String,
        /// User
        user: String,
        /// read, write or admin
        #[arg(long, default_value = "write", conflicts_with = "remove")]
        role: Role,
        /// Take the user out instead
        #[arg(long)]
        remove: bool,
    },
    /// List members of an organisation
    Members {
        /// Organisation
        org: String,
    },
}

#[derive(Debug, Subcommand)]
enum Token {
    /// Add a token and print it; it is not kept
    Add {
        /// User it speaks for
        user: String,
        /// read, write or admin
        #[arg(long, default_value = "write")]
        scope: Scope,
        /// Name to know it by
        #[arg(long, default_value = "cli")]
        name: String,
        /// Limit it to a repository: NAMESPACE/NAME, or datasets/NAMESPACE/NAME; may be repeated
        #[arg(long = "repo", value_name = "REPO")]
        repos: Vec<String>,
        /// Days until it expires
        #[arg(long, value_name = "DAYS")]
        expires_in: Option<u32>,
        /// Mark it as held by a program: policies can then refuse what a person would be asked about
        #[arg(long)]
        automated: bool,
        /// Use this token instead of a fresh one, to carry over an existing account
        #[arg(long, value_name = "TOKEN")]
        value: Option<String>,
    },
    /// List the tokens of a user
    List {
        /// User
        user: String,
    },
    /// Make a token invalid at once
    Revoke {
        /// Id as `list` shows it
        id: String,
    },
}

#[derive(Debug, Subcommand)]
enum Repo {
    /// Add a repository; without a namespace it gets a legacy id of one segment
    Add {
        /// NAMESPACE/NAME or NAME
        id: String,
        /// User in whose name it is created
        #[arg(long)]
        owner: String,
        /// Make a dataset instead of a model
        #[arg(long)]
        dataset: bool,
        /// Let only its owner's people see it
        #[arg(long)]
        private: bool,
    },
}

/// What a verb has to say, for people and for programs.
struct Answer {
    text: String,
    json: Value,
    /// Exit code.
    code: u8,
}

impl Admin {
    /// Carries out one order.
    pub async fn run(self, quiet: bool) -> anyhow::Result<()> {
        let settings = Settings::find(self.flags, ServerFlags::default())?;
        let hub = Hub::open(settings.hub_options(false)).await?;
        let answer = match self.what {
            What::User(user) => user.run(&hub).await?,
            What::Org(org) => org.run(&hub).await?,
            What::Token(token) => token.run(&hub).await?,
            What::Repo(repo) => repo.run(&hub).await?,
            What::Repack(repack) => repack.run(hub.clone(), &settings, quiet).await?,
            What::Policy(policy) => policy.run(&hub).await?,
            What::Audit(audit) => audit.run(&hub).await?,
            What::Quarantine(quarantine) => quarantine.run(&hub).await?,
            What::Advisory(advisory) => advisory.run(&hub).await?,
            What::Stats => stats::stats(&hub).await?,
            What::Gc(gc) => gc.run(&hub).await?,
            What::Fsck(fsck) => fsck.run(&hub).await?,
            What::Retention(retention) => retention.run(&hub).await?,
        };
        hub.close().await;
        if answer.json.is_null() {
            // It was written as it came.
        } else if self.json {
            ui::json(&answer.json)?
        } else {
            ui::data(&answer.text)?
        }
        if answer.code != 0 {
            return Err(exit::Answer(answer.code).into());
        }
        Ok(())
    }
}

/// Whoever answers for an order given on this machine: the one who is named, or the only administrator.
async fn administrator(hub: &Hub, name: Option<&str>) -> anyhow::Result<Caller> {
    let administrators: Vec<_> = hub.accounts(AccountKind::User).await?.into_iter().filter(|a| a.admin).collect();
    let found = match (name, administrators.as_slice()) {
        (Some(name), all) => all.iter().find(|a| a.name.eq_ignore_ascii_case(name)),
        (None, [only]) => Some(only),
        (None, []) => anyhow::bail!("this hub has no administrator; add one with `wh admin user add NAME --admin`"),
        (None, _) => anyhow::bail!("this hub has several administrators; say who answers for it with `--by NAME`"),
    };
    let found = found.ok_or_else(|| anyhow::anyhow!("`{}` is no administrator", name.unwrap_or_default()))?;
    Ok(hub.administrator(&found.name).await?)
}

/// Somebody with the right to look.
async fn any_administrator(hub: &Hub) -> anyhow::Result<Caller> {
    match hub.accounts(AccountKind::User).await?.into_iter().find(|account| account.admin) {
        Some(account) => Ok(hub.administrator(&account.name).await?),
        None => administrator(hub, None).await,
    }
}

/// A moment as people read it: `2026-11-26 08:15`, UTC.
fn moment(ms: i64) -> String {
    weighthouse_hub::wire::time::format_millis(ms).chars().take(16).collect::<String>().replace('T', " ")
}

impl User {
    async fn run(self, hub: &Hub) -> anyhow::Result<Answer> {
        match self {
            Self::Add { name, fullname, email, admin } => {
                let user = hub.add_user(NewAccount { name, fullname, email, admin }).await?;
                Ok(Answer {
                    text: format!("added user {}\nnext: wh admin token add {}", user.name, user.name),
                    json: json!({ "schema": "weighthouse.user/1", "id": user.id, "name": user.name, "admin": user.admin }),
                    code: 0,
                })
            }
            Self::List => accounts(hub, AccountKind::User).await,
        }
    }
}

async fn accounts(hub: &Hub, kind: AccountKind) -> anyhow::Result<Answer> {
    let accounts = hub.accounts(kind).await?;
    let line = |a: &weighthouse::Account| format!("{}{}", a.name, if a.admin { "  (administrator)" } else { "" });
    Ok(Answer {
        text: accounts.iter().map(line).collect::<Vec<_>>().join("\n"),
        json: json!({
            "schema": "weighthouse.accounts/1",
            "accounts": accounts.iter().map(|a| json!({
                "id": a.id, "name": a.name, "fullname": a.fullname, "email": a.email, "admin": a.admin,
                "created_at_ms": a.created_at_ms,
            })).collect::<Vec<_>>(),
        }),
        code: 0,
    })
}

impl Org {
    async fn run(self, hub: &Hub) -> anyhow::Result<Answer> {
        match self {
            Self::Add { name, fullname } => {
                let org = hub.add_org(NewAccount { name, fullname, ..NewAccount::default() }).await?;
                Ok(Answer {
                    text: format!("added organisation {}\nnext: wh admin org member {} USER", org.name, org.name),
                    json: json!({ "schema": "weighthouse.org/1", "id": org.id, "name": org.name }),
                    code: 0,
                })
            }
            Self::List => accounts(hub, AccountKind::Org).await,
            Self::Member { org, user, role, remove } => {
                let role = (!remove).then_some(role);
                hub.set_member(&org, &user, role).await?;
                let text = match role {
                    Some(role) => format!("{user} has the role {role} in {org}"),
                    None => format!("{user} is no longer in {org}"),
                };
                let role = role.map(Role::as_str);
                Ok(Answer {
                    text,
                    json: json!({ "schema": "weighthouse.member/1", "org": org, "user": user, "role": role }),
                    code: 0,
                })
            }
            Self::Members { org } => {
                let members = hub.members(&org).await?;
                Ok(Answer {
                    text: members
                        .iter()
                        .map(|m| format!("{}  {}", m.account.name, m.role))
                        .collect::<Vec<_>>()
                        .join("\n"),
                    json: json!({
                        "schema": "weighthouse.members/1",
                        "members": members.iter().map(|m| json!({ "user": m.account.name, "role": m.role.as_str() })).collect::<Vec<_>>(),
                    }),
                    code: 0,
                })
            }
        }
    }
}

impl Token {
    async fn run(self, hub: &Hub) -> anyhow::Result<Answer> {
        match self {
            Self::Add { user, scope, name, repos, expires_in, automated, value } => {
                let named = |repo: &String| {
                    let (kind, id) = kind_and_id(repo);
                    (kind, id.to_owned())
                };
                let new = NewToken {
                    name,
                    scope,
                    repos: (!repos.is_empty()).then(|| repos.iter().map(named).collect()),
                    lifetime_ms: expires_in.map(|days| i64::from(days) * 86_400_000),
                    automated,
                    value,
                };
                let (token, secret) = hub.add_token(&user, new).await?;
                Ok(Answer {
                    text: secret.clone(),
                    json: json!({
                        "schema": "weighthouse.token/1", "id": token.id, "token": secret, "user": user,
                        "scope": token.scope.as_str(), "expires_at_ms": token.expires_at_ms, "automated": token.automated,
                    }),
                    code: 0,
                })
            }
            Self::List { user } => {
                let tokens = hub.tokens(&user).await?;
                let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis());
                let line = |t: &weighthouse::TokenRecord| {
                    let expired = t.expires_at_ms.is_some_and(|ms| u128::try_from(ms).unwrap_or(0) <= now_ms);
                    let limited = if t.repos.is_some() { "  named repositories only" } else { "" };
                    format!("{}  {:<5}  {}{limited}{}", t.id, t.scope, t.name, if expired { "  expired" } else { "" })
                };
                Ok(Answer {
                    text: tokens.iter().map(line).collect::<Vec<_>>().join("\n"),
                    json: json!({
                        "schema": "weighthouse.tokens/1",
                        "tokens": tokens.iter().map(|t| json!({
                            "id": t.id, "name": t.name, "scope": t.scope.as_str(), "automated": t.automated, "created_at_ms": t.created_at_ms,
                            "expires_at_ms": t.expires_at_ms, "last_used_at_ms": t.last_used_at_ms,
                            "repos": t.repos.as_ref().map(|keys| keys.iter().map(ToString::to_string).collect::<Vec<_>>()),
                        })).collect::<Vec<_>>(),
                    }),
                    code: 0,
                })
            }
            Self::Revoke { id } => {
                hub.revoke_token(&id).await?;
                Ok(Answer {
                    text: format!("revoked {id}"),
                    json: json!({ "schema": "weighthouse.revoked/1", "id": id }),
                    code: 0,
                })
            }
        }
    }
}

impl Repo {
    async fn run(self, hub: &Hub) -> anyhow::Result<Answer> {
        let Self::Add { id, owner, dataset, private } = self;
        let caller: Caller = hub.administrator(&owner).await?;
        let (namespace, name) = id.split_once('/').unwrap_or(("", &id));
        let new = NewRepo {
            kind: if dataset { RepoKind::Dataset } else { RepoKind::Model },
            namespace: Some(namespace.to_owned()),
            name: name.to_owned(),
            private,
            files: Vec::new(),
        };
        let repo = hub.create_repo(&caller, new).await?;
        Ok(Answer {
            text: format!("added {} {}", repo.record.kind, repo.record.id),
            json: json!({ "schema": "weighthouse.repo/1", "id": repo.record.id, "kind": repo.record.kind.as_str() }),
            code: 0,
        })
    }
}
