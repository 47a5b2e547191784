//! Where the ledger stands, asked once for all who wait.
//!
//! As in Raft's `ReadIndex`: a request is answered by a read that began after the request arrived. Requests that arrive
//! while a read is under way wait for the next one, which serves all of them.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use sqlx::PgPool;
use sqlx::postgres::PgExecutor;
use tokio::sync::{mpsc, oneshot};

use crate::domain::discounts::{DiscountPolicy, Rates};

/// The most requests that one read serves; a bound on memory.
const MAX_WAITING: usize = 65_536;

type Waiting = oneshot::Sender<Result<(), Arc<sqlx::Error>>>;

/// The ledger as far as it is known: its last position, the policy in force there, and when prices last moved.
#[derive(Debug)]
pub(super) struct Standing {
    /// The last position that was read. What [`Standing::holds`] and the policy say is so at this very position.
    pub(super) position: i64,
    /// The discount policy in force.
    pub(super) policy: Arc<DiscountPolicy>,
    /// The last move of each place.
    moves: HashMap<String, i64>,
}

impl Standing {
    fn new() -> Self {
        Self { position: 0, policy: Arc::new(DiscountPolicy::built_in()), moves: HashMap::new() }
    }

    /// The last move of a place; 0: none is known.
    pub(super) fn moved(&self, place: &str) -> i64 {
        self.moves.get(place).copied().unwrap_or_default()
    }

    /// Whether what was read of a place at a position still holds.
    pub(super) fn holds(&self, place: &str, read_at: i64) -> bool {
        self.moved(place) <= read_at
    }

    fn learn(&mut self, news: News) {
        for (place, position) in news.moved_places.into_iter().zip(news.moved_positions) {
            let moved = self.moves.entry(place).or_default();
            *moved = (*moved).max(position);
        }
        // Reads may come in another order than they were made.
        if news.position >= self.position {
            self.position = news.position;
            if *self.policy != news.policy {
                self.policy = Arc::new(news.policy);
            }
        }
    }
}

/// What one statement, hence one snapshot, says of the ledger.
#[derive(Debug)]
struct News {
    position: i64,
    policy: DiscountPolicy,
    moved_places: Vec<String>,
    moved_positions: Vec<i64>,
}

async fn read(executor: impl PgExecutor<'_>, since: i64) -> Result<News, sqlx::Error> {
    let (position, version, rates, moved_places, moved_positions): (i64, Option<i64>, Option<String>, _, _) =
        sqlx::query_as(include_str!("sql/position.sql")).bind(since).fetch_one(executor).await?;
    let policy = policy_of(version.zip(rates))?;
    Ok(News { position, policy, moved_places, moved_positions })
}

/// Handle of the task that reads; clones share it.
#[derive(Debug, Clone)]
pub(super) struct Positions {
    queue: mpsc::Sender<Waiting>,
    standing: Arc<RwLock<Standing>>,
}

impl Positions {
    pub(super) fn spawn(pool: PgPool) -> Self {
        let (queue, waiting) = mpsc::channel(MAX_WAITING);
        let standing = Arc::new(RwLock::new(Standing::new()));
        tokio::spawn(run(pool, Arc::clone(&standing), waiting));
        Self { queue, standing }
    }

    /// Waits until the standing is known as of this call, or later.
    pub(super) async fn catch_up(&self) -> Result<(), Arc<sqlx::Error>> {
        let (answer, done) = oneshot::channel();
        self.queue.send(answer).await.map_err(|_| closed())?;
        done.await.map_err(|_| closed())?
    }

    /// Calls `with` with the standing known so far. What it says of several places is true of one position.
    pub(super) fn with_standing<T>(&self, with: impl FnOnce(&Standing) -> T) -> T {
        with(&self.standing.read().expect("no panic while the lock is held"))
    }

    /// Learns the moves up to the snapshot of a transaction; returns the snapshot's position and policy.
    pub(super) async fn learn(
        &self,
        connection: &mut sqlx::PgConnection,
    ) -> Result<(i64, DiscountPolicy), sqlx::Error> {
        let news = read(connection, self.with_standing(|standing| standing.position)).await?;
        let known = (news.position, news.policy.clone());
        self.standing.write().expect("no panic while the lock is held").learn(news);
        Ok(known)
    }
}

fn closed() -> Arc<sqlx::Error> {
    Arc::new(sqlx::Error::PoolClosed)
}

async fn run(pool: PgPool, standing: Arc<RwLock<Standing>>, mut queue: mpsc::Receiver<Waiting>) {
    let mut waiting = Vec::new();
    while queue.recv_many(&mut waiting, MAX_WAITING).await > 0 {
        let since = standing.read().expect("no panic while the lock is held").position;
        let outcome = match read(&pool, since).await {
            Ok(news) => {
                standing.write().expect("no panic while the lock is held").learn(news);
                Ok(())
            }
            Err(error) => Err(Arc::new(error)),
        };
        for answer in waiting.drain(..) {
            // A request that was given up does not wait any more.
            let _ = answer.send(outcome.clone());
        }
    }
}

/// The discount policy in force at a time, or now.
pub(super) async fn policy_as_of(
    executor: impl PgExecutor<'_>,
    as_of: Option<chrono::DateTime<chrono::Utc>>,
) -> Result<DiscountPolicy, sqlx::Error> {
    let row: Option<(i64, String)> =
        sqlx::query_as(include_str!("sql/policy_as_of.sql")).bind(as_of).fetch_optional(executor).await?;
    policy_of(row)
}

fn policy_of(stored: Option<(i64, String)>) -> Result<DiscountPolicy, sqlx::Error> {
    let Some((version, rates)) = stored else { return Ok(DiscountPolicy::built_in()) };
    let rates: Rates = serde_json::from_str(&rates).map_err(|error| sqlx::Error::Decode(error.into()))?;
    Ok(DiscountPolicy { version: version.unsigned_abs(), rates })
}
