//! `wh whoami`

use clap::Args;
use serde_json::json;

use crate::remote::{RemoteFlags, explain};
use crate::ui;

/// Arguments of `wh whoami`
#[derive(Debug, Args)]
pub struct Whoami {
    #[command(flatten)]
    remote: RemoteFlags,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Whoami {
    /// Asks the hub.
    pub async fn run(self, quiet: bool) -> anyhow::Result<()> {
        let api = self.remote.open(quiet)?;
        let me = api.whoami().await.map_err(|error| explain(error, Some(&api)))?;
        let token = me.auth.as_ref().map(|auth| &auth.access_token);
        if self.json {
            let orgs: Vec<_> = me.orgs.iter().map(|org| json!({ "name": org.name, "role": org.role_in_org })).collect();
            ui::json(&json!({
                "schema": "weighthouse.whoami/1", "endpoint": api.base(), "user": me.name, "fullname": me.fullname,
                "token": token.map(|token| json!({
                    "name": token.display_name, "role": token.role, "expires": token.expiration,
                })),
                "orgs": orgs,
            }))?;
            return Ok(());
        }
        ui::data(&me.name)?;
        for org in &me.orgs {
            ui::data(&format!("  {} ({})", org.name, org.role_in_org))?;
        }
        if !quiet {
            let role = token.map(|token| format!(", token `{}` ({})", token.display_name, token.role));
            ui::note(&format!("on {}{}", api.base(), role.unwrap_or_default()));
        }
        Ok(())
    }
}
