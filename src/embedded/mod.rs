//! A private PostgreSQL server, for programs that were given no `DATABASE_URL`.
//!
//! The first command to need the server makes the cluster and starts it, later ones join, the last one out stops it.
//! A program that is killed leaves the server running; the next one takes it over.

mod account;
mod binaries;
mod cluster;
mod error;
mod place;

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{ConnectOptions, PgConnection};

use self::cluster::{Cluster, START_LIMIT, USER};
use self::error::AtPath;
use self::place::Place;

pub use self::error::EmbeddedError;

/// The database that the program uses.
const DATABASE: &str = "mercuriale";
/// How often to ask a server that is recovering.
const READY_POLL: Duration = Duration::from_millis(100);
/// How long one attempt to connect may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(30);

/// A hold on the private server; it runs at least until [`EmbeddedPostgres::leave`]. Merely dropping this gives up
/// the hold and leaves the server running.
pub struct EmbeddedPostgres {
    url: String,
    cluster: Cluster,
    hold: File,
}

impl std::fmt::Debug for EmbeddedPostgres {
    /// Without the URL, which holds the password.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("EmbeddedPostgres").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

impl EmbeddedPostgres {
    /// Joins the server of `data_dir` (such as `./.mercuriale`), after making and starting it if need be.
    ///
    /// Waits up to 10 minutes for crash recovery, and up to 15 for another command that is starting or stopping
    /// the server. Must be called within a tokio runtime.
    pub async fn start_or_join(data_dir: &Path) -> Result<Self, EmbeddedError> {
        uninterrupted(start_or_join(data_dir.to_owned())).await
    }

    /// `postgres://...`, with the password, for the database `mercuriale`. Not for logs.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Gives up the hold, and stops the server if nobody else holds it. Close connections first: the server ends
    /// those that are left.
    pub async fn leave(self) -> Result<(), EmbeddedError> {
        uninterrupted(leave(self.cluster, self.hold)).await
    }
}

/// Runs in a task of its own: a caller that stops waiting must not release the locks half-way.
async fn uninterrupted<T: Send + 'static>(
    work: impl Future<Output = Result<T, EmbeddedError>> + Send + 'static,
) -> Result<T, EmbeddedError> {
    match tokio::spawn(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(EmbeddedError::Interrupted),
    }
}

async fn start_or_join(data_dir: PathBuf) -> Result<EmbeddedPostgres, EmbeddedError> {
    let control = Place::find(&data_dir)?.lock_control().await?;
    // Again, since another command may have made the cluster while this one waited for the lock.
    let (cluster, password) = Cluster::open(Place::find(&data_dir)?).await?;
    let hold = cluster.place.lock_use()?;
    match ready(&cluster, &password).await {
        Ok(url) => {
            control.unlock().at(&cluster.place.home)?;
            Ok(EmbeddedPostgres { url, cluster, hold })
        }
        Err(error) => {
            if let Err(stop) = release(&cluster, &hold).await {
                tracing::warn!(error = %stop, "the private PostgreSQL server was left running");
            }
            Err(error)
        }
    }
}

async fn leave(cluster: Cluster, hold: File) -> Result<(), EmbeddedError> {
    // The control lock ends with the function, after the stop: whoever comes next finds the server up or down.
    let _control = cluster.place.lock_control().await?;
    release(&cluster, &hold).await
}

/// Gives up the hold and stops the server if it was the last. Under the control lock.
async fn release(cluster: &Cluster, hold: &File) -> Result<(), EmbeddedError> {
    let path = &cluster.place.home;
    // Explicitly, not by closing: a process being started by another thread may have a copy for a moment.
    hold.unlock().at(path)?;
    match hold.try_lock() {
        Ok(()) => cluster.stop().await,
        Err(TryLockError::WouldBlock) => Ok(()),
        Err(TryLockError::Error(error)) => Err(error).at(path),
    }
}

/// Starts the server unless it runs, waits until it takes connections, and makes the database. Returns its URL.
async fn ready(cluster: &Cluster, password: &str) -> Result<String, EmbeddedError> {
    let since = Instant::now();
    loop {
        if since.elapsed() > START_LIMIT {
            return Err(cluster.log_end());
        }
        let Some(port) = cluster.running_port() else {
            // It may also have been going down when we came, and be gone by now.
            cluster.start().await?;
            continue;
        };
        let options = PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(port)
            .username(USER)
            .password(password)
            .database("postgres")
            .ssl_mode(PgSslMode::Disable);
        match tokio::time::timeout(CONNECT_LIMIT, options.connect()).await {
            Ok(Ok(mut connection)) => {
                make_database(&mut connection).await?;
                return Ok(format!(
                    "postgres://{USER}:{password}@127.0.0.1:{port}/{DATABASE}?sslmode=disable"
                ));
            }
            Ok(Err(error)) if !is_passing(&error) => return Err(error.into()),
            Ok(Err(_)) | Err(_) => tokio::time::sleep(READY_POLL).await,
        }
    }
}

/// Whether a server that is starting, recovering or shutting down may answer like this.
fn is_passing(error: &sqlx::Error) -> bool {
    const CANNOT_CONNECT_NOW: &str = "57P03";
    match error {
        sqlx::Error::Io(_) => true,
        sqlx::Error::Database(error) => error.code().as_deref() == Some(CANNOT_CONNECT_NOW),
        _ => false,
    }
}

async fn make_database(connection: &mut PgConnection) -> Result<(), EmbeddedError> {
    let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
        .bind(DATABASE)
        .fetch_one(&mut *connection)
        .await?;
    if !exists {
        sqlx::query("CREATE DATABASE mercuriale").execute(connection).await?;
    }
    Ok(())
}
