//! The engine of read models. It knows none of them: each is a folder of `projections/` with two SQL files.
//!
//! `schema.sql` creates the tables; `apply.sql` folds the events in (`from_position`, `to_position`] into them and must
//! give the same tables for every way of cutting the log into batches. Two directives in its header say when:
//!
//! - `-- apply: inline`: in the append's own transaction, so that a reader sees an event and its effect together;
//! - `-- apply: following`: soon after the commit, for models that are too slow to hold up writers;
//! - `-- events: a b c`: the event types that it looks at.
//!
//! What follows a line `-- when filled:` of `schema.sql`, such as indexes that `apply.sql` does not use, is made after the
//! rows of a rebuild, since an index is built several times faster from rows than row by row.
//!
//! Each model lives in a PostgreSQL schema of its name, with a function `apply` made from `apply.sql`. A rebuild fills
//! `<name>_shadow` while the old one serves, and takes its place in one short transaction.

mod check;
mod definition;
mod rebuild;

pub use check::Difference;
pub use definition::{Definition, Mode, definitions};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use sqlx::PgPool;

use crate::ledger;

/// Pause before a follower tries to listen again.
const RETRY: std::time::Duration = std::time::Duration::from_secs(1);
/// Events applied at a time by rebuilds and followers.
const BATCH_EVENTS: i64 = 20_000;
/// A rebuild keeps one processor busy, mostly with reading JSON.
const REBUILDS_AT_ONCE: usize = 2;

/// Why a read model could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum ProjectionError {
    /// No folder of that name.
    #[error("there is no projection {name:?}; there are {known}")]
    Unknown {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// Its SQL failed on the log.
    #[error("projection {name}: {source}")]
    Apply {
        /// Which.
        name: &'static str,
        /// The cause.
        source: sqlx::Error,
    },
}

/// How far a read model has come.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Progress {
    /// Folder and schema.
    pub name: &'static str,
    /// `inline` or `following`.
    pub mode: Mode,
    /// Last event it shows.
    pub position: i64,
    /// Whether the SQL it was built with is the program's.
    pub current: bool,
}

/// Brings read models up to date.
#[derive(Debug, Clone)]
pub struct Engine {
    pool: PgPool,
    definitions: &'static [Definition],
}

impl Engine {
    /// An engine of the program's own read models.
    pub fn new(pool: PgPool) -> Self {
        Self { pool, definitions: definitions() }
    }

    fn definition(&self, name: &str) -> Result<&'static Definition, ProjectionError> {
        self.definitions.iter().find(|definition| definition.name == name).ok_or_else(|| {
            ProjectionError::Unknown {
                name: name.to_owned(),
                known: self
                    .definitions
                    .iter()
                    .map(|definition| definition.name)
                    .collect::<Vec<_>>()
                    .join(", "),
            }
        })
    }

    /// Read models and how far each has come, by name.
    ///
    /// # Errors
    /// The database failed.
    pub async fn list(&self) -> Result<Vec<Progress>, sqlx::Error> {
        let rows: Vec<(String, Vec<u8>, i64)> =
            sqlx::query_as(include_str!("sql/list.sql")).fetch_all(&self.pool).await?;
        Ok(self
            .definitions
            .iter()
            .map(|definition| {
                let row = rows.iter().find(|(name, ..)| name == definition.name);
                Progress {
                    name: definition.name,
                    mode: definition.mode,
                    position: row.map_or(0, |(.., position)| *position),
                    current: row.is_some_and(|(_, sha256, _)| sha256.as_slice() == definition.sha256),
                }
            })
            .collect())
    }

    /// Builds the read models that are missing or were built with other SQL, and returns their names.
    ///
    /// # Errors
    /// A read model's SQL failed, or the database did.
    pub async fn ensure(&self) -> Result<Vec<&'static str>, ProjectionError> {
        let rebuilt: Vec<Option<&'static str>> = stream::iter(self.definitions)
            .map(async |definition| {
                let other = |stored: Option<&[u8]>| stored != Some(definition.sha256.as_slice());
                Ok(self.rebuild_if(definition, other).await?.then_some(definition.name))
            })
            .buffered(REBUILDS_AT_ONCE)
            .try_collect()
            .await?;
        Ok(rebuilt.into_iter().flatten().collect())
    }

    /// Builds a read model anew from the log while the old one serves.
    ///
    /// # Errors
    /// There is none of that name, its SQL failed, or the database did.
    pub async fn rebuild(&self, name: &str) -> Result<(), ProjectionError> {
        self.rebuild_if(self.definition(name)?, |_| true).await.map(|_| ())
    }

    /// The same for several, two at a time.
    ///
    /// # Errors
    /// As of [`Engine::rebuild`]; others may have been rebuilt.
    pub async fn rebuild_all(&self, names: &[&str]) -> Result<(), ProjectionError> {
        stream::iter(names)
            .map(|name| self.rebuild(name))
            .buffer_unordered(REBUILDS_AT_ONCE)
            .try_collect()
            .await
    }

    /// Rebuilds a read model beside the one that serves and compares the two.
    ///
    /// # Errors
    /// There is none of that name, its SQL failed, or the database did.
    pub async fn check(&self, name: &str) -> Result<Option<Difference>, ProjectionError> {
        let definition = self.definition(name)?;
        check::check(&self.pool, definition)
            .await
            .map_err(|source| ProjectionError::Apply { name: definition.name, source })
    }

    /// Brings a following read model to the head of the log, or at least to `position`.
    ///
    /// # Errors
    /// There is none of that name, its SQL failed, or the database did.
    pub async fn catch_up(&self, name: &str, position: i64) -> Result<(), ProjectionError> {
        let definition = self.definition(name)?;
        self.advance(definition, position)
            .await
            .map_err(|source| ProjectionError::Apply { name: definition.name, source })
    }

    async fn advance(&self, definition: &Definition, at_least: i64) -> Result<(), sqlx::Error> {
        loop {
            let mut transaction = self.pool.begin().await?;
            // The row's lock makes replicas take turns; whoever comes second finds the work done.
            let done: i64 = sqlx::query_scalar(include_str!("sql/progress_lock.sql"))
                .bind(definition.name)
                .fetch_one(&mut *transaction)
                .await?;
            let head = ledger::head(&mut *transaction).await?;
            if done >= head || (at_least < head && done >= at_least) {
                return transaction.rollback().await;
            }
            let to = head.min(done + BATCH_EVENTS);
            sqlx::query(definition.apply_statement()).bind(done).bind(to).execute(&mut *transaction).await?;
            sqlx::query(include_str!("sql/progress_set.sql"))
                .bind(definition.name)
                .bind(to)
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await?;
        }
    }

    /// Keeps the following read models at the head of the log until the task is dropped.
    pub async fn follow(self) {
        let mut tail: Option<ledger::Tail> = None;
        loop {
            for definition in self.definitions.iter().filter(|definition| definition.mode == Mode::Following)
            {
                if let Err(error) = self.advance(definition, i64::MAX).await {
                    tracing::error!(projection = definition.name, %error, "a read model does not follow the log");
                }
            }
            if tail.is_none() {
                tail = ledger::Tail::new(self.pool.clone(), 0, 1).await.ok();
            }
            let Some(listening) = tail.as_mut() else {
                tokio::time::sleep(RETRY).await;
                continue;
            };
            if listening.wait().await.is_err() {
                tail = None;
            }
        }
    }
}
