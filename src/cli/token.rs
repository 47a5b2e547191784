//! `mercuriale token`: tokens for operators. No database is needed, only the secret.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::{Exit, output};
use crate::access::{Authority, JwtSettings, MAX_LIFETIME, Principal, Role};
use crate::config::Config;

#[derive(Debug, Subcommand)]
pub(super) enum Token {
    /// Print a token for a principal
    Issue(Issue),
}

#[derive(Debug, Args)]
pub(super) struct Issue {
    /// What it may do: viewer, analyst, admin or auditor
    #[arg(long)]
    role: Role,
    /// Whose sessions, proposals and estimates it works on
    #[arg(long)]
    tenant: String,
    /// Who it is, as events will name it
    #[arg(long, default_value = "operator")]
    subject: String,
    /// How long it is valid: 15m, 1h, 30d; at most 366d
    #[arg(long, default_value = "1h", value_parser = lifetime)]
    expires: Duration,
}

fn lifetime(text: &str) -> Result<Duration, String> {
    let lifetime =
        humantime::parse_duration(text).map_err(|error| format!("{error}; write it as 15m or 1h"))?;
    if (Duration::from_secs(1)..=MAX_LIFETIME).contains(&lifetime) {
        Ok(lifetime)
    } else {
        Err("write 1s to 366d".to_owned())
    }
}

impl Token {
    pub(super) async fn run(self, config: &Config) -> anyhow::Result<Exit> {
        let Self::Issue(Issue { role, tenant, subject, expires }) = self;
        let principal = Principal::new(&tenant, &subject, role)?;
        // What an identity provider's tokens have to be does not matter here.
        let authority = Authority::open(&config.token_secret()?, JwtSettings::default())
            .await
            .map_err(anyhow::Error::msg)?;
        output::line(&authority.issue(&principal, expires).0)
    }
}
