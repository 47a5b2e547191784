//! One read of the database for all who miss rates at the same moment.
//!
//! Requests that wait are served by a snapshot that began after they arrived (as in `position.rs`), so sharing it makes no
//! answer older; a line that several of them miss is read and chosen once. Nobody joins a read that is under way.

use std::collections::HashMap;
use std::sync::Arc;

use sqlx::PgPool;
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::estimate::{rate_choose, rate_key};
use super::lookup::{line_key, place};
use super::position::Positions;
use super::{PricingError, snapshot};
use crate::cache::{CachedRate, PriceCache};
use crate::domain::arithmetic::ServedFrom;
use crate::domain::discounts::DiscountPolicy;
use crate::domain::estimate::RequestLine;
use crate::domain::selection::{Selection, SelectionError};
use crate::projections::Engine;

/// Reads under way at once: a request of thousands of lines does not keep small ones waiting.
const FLIGHTS: usize = 4;
/// Requests that may wait; more callers wait to be queued.
const QUEUE: usize = 4_096;
/// A read takes no further requests once it has this many lines (a single larger request still goes whole).
const LINES: usize = 10_000;

/// What a line means, or why it means nothing that has a price.
pub(super) type Choice = Result<Arc<Selection>, Arc<SelectionError>>;

/// What one snapshot said.
#[derive(Debug)]
pub(super) struct Flight {
    /// The snapshot's position.
    pub(super) position: i64,
    /// The policy in force there.
    pub(super) policy: Arc<DiscountPolicy>,
    /// Choices by [`line_key`].
    pub(super) choices: HashMap<String, Choice>,
}

type Landed = Result<Arc<Flight>, Arc<PricingError>>;

struct Passenger {
    lines: Vec<RequestLine>,
    answer: oneshot::Sender<Landed>,
}

/// Handle of the task that reads; clones share it.
#[derive(Debug, Clone)]
pub(super) struct Flights {
    queue: mpsc::Sender<Passenger>,
}

impl Flights {
    pub(super) fn spawn(
        pool: PgPool,
        engine: Engine,
        positions: Positions,
        caches: Vec<Arc<dyn PriceCache>>,
    ) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        tokio::spawn(run(Arc::new(Reader { pool, engine, positions, caches }), waiting));
        Self { queue }
    }

    /// Reads lines in a snapshot that begins after this call, and caches them. The answer may hold further lines.
    pub(super) async fn read(&self, lines: Vec<RequestLine>) -> Landed {
        let closed = || Arc::new(PricingError::from(sqlx::Error::PoolClosed));
        let (answer, landed) = oneshot::channel();
        self.queue.send(Passenger { lines, answer }).await.map_err(|_| closed())?;
        landed.await.map_err(|_| closed())?
    }
}

async fn run(reader: Arc<Reader>, mut queue: mpsc::Receiver<Passenger>) {
    let gates = Arc::new(Semaphore::new(FLIGHTS));
    while let Some(first) = queue.recv().await {
        let Ok(gate) = Arc::clone(&gates).acquire_owned().await else { return };
        let mut lines = first.lines.len();
        let mut passengers = vec![first];
        while lines < LINES
            && let Ok(next) = queue.try_recv()
        {
            lines += next.lines.len();
            passengers.push(next);
        }
        let reader = Arc::clone(&reader);
        tokio::spawn(async move {
            let (lines, answers): (Vec<_>, Vec<_>) =
                passengers.into_iter().map(|passenger| (passenger.lines, passenger.answer)).unzip();
            let landed = reader.fly(lines.into_iter().flatten()).await.map(Arc::new).map_err(Arc::new);
            for answer in answers {
                // A request that was given up does not wait any more.
                let _ = answer.send(landed.clone());
            }
            drop(gate);
        });
    }
}

struct Reader {
    pool: PgPool,
    engine: Engine,
    positions: Positions,
    caches: Vec<Arc<dyn PriceCache>>,
}

impl Reader {
    async fn fly(&self, lines: impl Iterator<Item = RequestLine>) -> Result<Flight, PricingError> {
        let lines: HashMap<String, RequestLine> = lines.map(|line| (line_key(&line), line)).collect();
        let (keys, lines): (Vec<String>, Vec<RequestLine>) = lines.into_iter().unzip();
        metrics::counter!("mercuriale_rates_read_total").increment(keys.len() as u64);
        let mut transaction = snapshot(&self.pool, &self.engine).await?;
        let (position, policy) = self.positions.learn(&mut transaction).await?;
        let choices = rate_choose(&mut transaction, &lines.iter().collect::<Vec<_>>(), None).await?;
        transaction.rollback().await?;
        // An entry's namespace must be that of its snapshot: where prices have moved since, it is not kept.
        let entries: Vec<_> = self.positions.with_standing(|standing| {
            let chosen = lines.iter().zip(&choices);
            let kept = chosen.filter(|(line, _)| standing.holds(&place(line), position));
            kept.filter_map(|(line, choice)| {
                let selection = Arc::clone(choice.as_ref().ok()?);
                let rate = CachedRate { selection, read_at: position, served_from: ServedFrom::Postgres };
                Some((rate_key(standing, line), rate))
            })
            .collect()
        });
        for cache in &self.caches {
            cache.put(&entries).await;
        }
        Ok(Flight { position, policy: Arc::new(policy), choices: keys.into_iter().zip(choices).collect() })
    }
}
