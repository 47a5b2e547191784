//! Connections: the role they work as, and the migrations.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection as _, Executor as _, PgConnection, PgPool};

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();

/// Why there is no usable database.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No connection.
    #[error("cannot connect to PostgreSQL at {host}:{port}, database {database:?}: {source}")]
    Connect {
        /// Server name.
        host: String,
        /// Server port.
        port: u16,
        /// Database name.
        database: String,
        /// The cause.
        source: sqlx::Error,
    },
    /// The URL is not one of PostgreSQL. Its text is not repeated, since it may hold a password.
    #[error("DATABASE_URL is not a PostgreSQL URL such as postgres://user:password@host:5432/database")]
    Url,
    /// The schema could not be brought up to date.
    #[error("cannot migrate the database: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
}

fn options(url: &str) -> Result<PgConnectOptions, ConnectError> {
    // The parser takes any scheme.
    if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
        return Err(ConnectError::Url);
    }
    let options: PgConnectOptions = url.parse().map_err(|_| ConnectError::Url)?;
    Ok(options.application_name("mercuriale").statement_cache_capacity(256))
}

fn connect_error(options: &PgConnectOptions, source: sqlx::Error) -> ConnectError {
    ConnectError::Connect {
        host: options.get_host().to_owned(),
        port: options.get_port(),
        database: options.get_database().unwrap_or("").to_owned(),
        source,
    }
}

/// Brings the log's schema up to date. Works as the user of the URL, who must own the database.
///
/// # Errors
/// No connection, or a migration that fails or was changed after its release.
pub async fn migrate(url: &str) -> Result<(), ConnectError> {
    let options = options(url)?;
    let mut connection =
        PgConnection::connect_with(&options).await.map_err(|error| connect_error(&options, error))?;
    MIGRATIONS.run(&mut connection).await?;
    connection
        .execute(include_str!("sql/grant.sql"))
        .await
        .map_err(|error| ConnectError::Migrate(sqlx::migrate::MigrateError::Execute(error)))?;
    connection.close().await.map_err(|error| connect_error(&options, error))
}

/// A pool whose connections work as `mercuriale_app`, which may add to the log but not change it.
///
/// # Errors
/// No connection within 10 seconds, or a database that was not migrated.
pub async fn connect(url: &str, max_connections: u32) -> Result<PgPool, ConnectError> {
    let options = options(url)?;
    PgPoolOptions::new()
        .max_connections(max_connections)
        .acquire_timeout(Duration::from_secs(10))
        // A connection is checked by its next statement; a ping before each would double the round trips.
        .test_before_acquire(false)
        .after_connect(|connection, _| {
            Box::pin(async move {
                connection.execute("set role mercuriale_app").await?;
                connection.execute("set time zone 'UTC'").await?;
                Ok(())
            })
        })
        .connect_with(options.clone())
        .await
        .map_err(|error| connect_error(&options, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_of_another_database_is_refused_without_repeating_it() {
        for url in ["mysql://user:secret@host/x", "host=localhost", "postgres://host:port", ""] {
            let error = options(url).expect_err(url);
            assert!(matches!(error, ConnectError::Url), "{url}: {error}");
            assert!(!error.to_string().contains("secret"));
        }
        assert!(options("postgresql://host/x").is_ok());
    }
}
