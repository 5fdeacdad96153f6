//! `wh login`

use std::io::{BufRead, IsTerminal};

use anyhow::Context;
use clap::Args;
use serde_json::json;
use weighthouse_hub::client::{Api, ApiOptions};

use crate::credentials::{self, Login as Kept};
use crate::exit::Hinted;
use crate::remote::{explain, variable};
use crate::ui;

/// Arguments of `wh login`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wh login https://hub.example.org
  wh login http://127.0.0.1:7070 --token \"$(cat admin-token)\"
  echo \"$TOKEN\" | wh login https://hub.example.org")]
pub struct Login {
    /// Address of the hub [env: WH_ENDPOINT, HF_ENDPOINT] [default: http://127.0.0.1:7070]
    #[arg(value_name = "URL")]
    endpoint: Option<String>,
    /// Token to keep [env: HF_TOKEN] [default: ask, or read one line of stdin]
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Login {
    /// Checks the token with the hub and keeps both.
    pub async fn run(self, quiet: bool) -> anyhow::Result<()> {
        let endpoint = self.endpoint.or_else(|| variable("WH_ENDPOINT")).or_else(|| variable("HF_ENDPOINT"));
        let endpoint = endpoint.unwrap_or_else(|| "http://127.0.0.1:7070".to_owned());
        let token = match self.token.or_else(|| variable("HF_TOKEN")) {
            Some(token) => token,
            None => ask(&endpoint)?,
        };
        let mut options = ApiOptions::new(&endpoint);
        options.token = Some(token.trim().to_owned());
        let api = Api::new(options).map_err(|error| explain(error, None))?;
        let me = api.whoami().await.map_err(|error| explain(error, Some(&api)))?;
        let place = credentials::place(&variable)?;
        let kept = Kept { endpoint: api.base().to_owned(), token: token.trim().to_owned() };
        credentials::write(&place, &kept)?;
        let role = me.auth.as_ref().map(|auth| auth.access_token.role.as_str()).unwrap_or_default();
        if self.json {
            ui::json(&json!({
                "schema": "weighthouse.login/1", "endpoint": api.base(), "user": me.name, "role": role,
                "file": place.display().to_string(),
            }))?;
        } else if !quiet {
            ui::note(&format!("logged in to {} as `{}`; kept in {}", api.base(), me.name, place.display()));
        }
        Ok(())
    }
}

fn ask(endpoint: &str) -> anyhow::Result<String> {
    let token = if std::io::stdin().is_terminal() && std::io::stderr().is_terminal() {
        let terminal = console::Term::stderr();
        terminal.write_str(&format!("Token for {endpoint} (it will not be shown): "))?;
        terminal.read_secure_line().context("reading the token")?
    } else {
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line).context("reading the token from stdin")?;
        line
    };
    if token.trim().is_empty() {
        let hints = vec!["the hub prints one at its first start; `wh admin token add` makes more".to_owned()];
        return Err(Hinted { message: "no token was given".to_owned(), hints, code: 2 }.into());
    }
    Ok(token)
}
