//! The private server, and fresh ledgers on it.

use std::path::Path;

use anyhow::Context as _;
use mercuriale::embedded::EmbeddedPostgres;
use mercuriale::ledger;
use mercuriale::projections::Engine;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};

/// A PostgreSQL with the settings that the program gives its own.
pub(crate) struct Server(EmbeddedPostgres);

impl Server {
    pub(crate) async fn start(folder: &Path) -> anyhow::Result<Self> {
        open_to_all(folder)?;
        Ok(Self(EmbeddedPostgres::start_or_join(&folder.join("data")).await?))
    }

    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        Ok(self.0.leave().await?)
    }

    /// URL of another database.
    pub(crate) fn url(&self, database: &str) -> String {
        self.0.url().replace("/mercuriale?", &format!("/{database}?"))
    }

    pub(crate) async fn administrator(&self) -> anyhow::Result<PgConnection> {
        self.owner("postgres").await
    }

    /// A connection that may do anything, also what the program may not.
    pub(crate) async fn owner(&self, database: &str) -> anyhow::Result<PgConnection> {
        PgConnection::connect(&self.url(database)).await.context("cannot connect to the private server")
    }

    pub(crate) async fn create(&self, database: &str) -> anyhow::Result<()> {
        let statement = AssertSqlSafe(format!("create database {database}"));
        sqlx::raw_sql(statement).execute(&mut self.administrator().await?).await?;
        Ok(())
    }

    /// An empty ledger with its read models.
    pub(crate) async fn ledger(&self, database: &str) -> anyhow::Result<PgPool> {
        self.create(database).await?;
        let url = self.url(database);
        ledger::migrate(&url).await?;
        let pool = ledger::connect(&url, 10).await?;
        Engine::new(pool.clone()).ensure().await?;
        Ok(pool)
    }
}

/// The server of a program that root runs belongs to another user, who must get in.
fn open_to_all(folder: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).context("the temporary folder")
}
