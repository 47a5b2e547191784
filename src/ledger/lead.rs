//! One process of all that work on a ledger does what must not be done twice at once: the schedule, the relay.

use std::time::Duration;

use sqlx::{PgConnection, PgPool};
use tokio::time::timeout;

/// Between two signs of life of a leader, and between two tries of the others. A session that is silent for 6 s is
/// ended by PostgreSQL (`leader_session.sql`), so another process leads after 8 s at most, even if the leader hangs or its
/// host is gone without a word.
pub const HEARTBEAT: Duration = Duration::from_secs(2);
/// How long the answer to a sign of life is waited for.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(4);

/// The lead in one task: an advisory lock, held on a connection of its own until that ends.
#[derive(Debug)]
pub struct Lead {
    connection: PgConnection,
}

impl Lead {
    /// Waits until this process leads in `task`.
    ///
    /// # Errors
    /// The database failed.
    pub async fn take(pool: &PgPool, task: &str) -> Result<Self, sqlx::Error> {
        let mut connection = pool.acquire().await?.detach();
        sqlx::query(include_str!("sql/leader_session.sql")).execute(&mut connection).await?;
        loop {
            let lead = sqlx::query_scalar(include_str!("sql/lead.sql")).bind(task).fetch_one(&mut connection);
            if answered(lead).await? {
                return Ok(Self { connection });
            }
            tokio::time::sleep(HEARTBEAT).await;
        }
    }

    /// Shows a sign of life; due every [`HEARTBEAT`].
    ///
    /// # Errors
    /// The lead is lost.
    pub async fn beat(&mut self) -> Result<(), sqlx::Error> {
        answered(sqlx::query(include_str!("sql/heartbeat.sql")).execute(&mut self.connection)).await.map(drop)
    }

    /// The connection, for what only the leader asks; any statement is a sign of life.
    pub fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

/// A database that does not answer is as good as gone.
///
/// # Errors
/// That of the query, or that it took too long.
pub async fn answered<T>(query: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    let silent = || sqlx::Error::Io(std::io::Error::from(std::io::ErrorKind::TimedOut));
    timeout(HEARTBEAT_TIMEOUT, query).await.unwrap_or_else(|_| Err(silent()))
}
