//! In a Redis that replicas share. Slow, full, flushed or gone: then it is a miss, and a breaker stops the waiting.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{CachedRate, PriceCache, RateKey};
use crate::domain::arithmetic::ServedFrom;
use crate::domain::selection::Selection;

/// Part of every key; changes with the form of entries, so that versions of the program do not read each other's.
const VERSION: &str = "v1";
const CONNECTION_TIMEOUT: Duration = Duration::from_millis(500);
/// Failures in a row that open the breaker.
const FAILURES_UNTIL_OPEN: u32 = 3;
/// How long it stays open; then one call tries again.
const OPEN_MILLIS: u64 = 1_000;

/// `REDIS_URL` cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("REDIS_URL is not a Redis URL such as redis://host:6379: {0}")]
pub struct RedisError(#[from] redis::RedisError);

/// An entry as it is stored.
#[derive(serde::Serialize, serde::Deserialize)]
struct Entry {
    read_at: i64,
    selection: Arc<Selection>,
}

/// A cache in Redis.
pub struct RedisCache {
    connection: ConnectionManager,
    prefix: String,
    ttl: Duration,
    timeout: Duration,
    breaker: Breaker,
}

impl std::fmt::Debug for RedisCache {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("RedisCache").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl RedisCache {
    /// A cache for one ledger; connects when it is first used, and again whenever the connection is lost. Entries are
    /// kept for `ttl`, and a command that takes longer than `timeout` is a miss.
    ///
    /// # Errors
    /// The URL is none of Redis.
    pub fn new(url: &str, ledger_id: Uuid, ttl: Duration, timeout: Duration) -> Result<Self, RedisError> {
        let config = ConnectionManagerConfig::new()
            .set_response_timeout(Some(timeout))
            .set_connection_timeout(Some(CONNECTION_TIMEOUT))
            .set_number_of_retries(1);
        let connection = ConnectionManager::new_lazy_with_config(redis::Client::open(url)?, config)?;
        let prefix = format!("mercuriale:{VERSION}:{}", ledger_id.simple());
        Ok(Self { connection, prefix, ttl, timeout, breaker: Breaker::new() })
    }

    fn key(&self, key: &RateKey) -> String {
        format!("{}:{}:{}", self.prefix, key.namespace, hex::encode(Sha256::digest(&key.line)))
    }

    /// Runs a command unless the breaker is open.
    async fn run<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> Option<T> {
        if !self.breaker.lets_through() {
            return None;
        }
        let mut connection = self.connection.clone();
        let outcome = tokio::time::timeout(self.timeout, command.query_async(&mut connection)).await;
        match outcome {
            Ok(Ok(value)) => {
                self.breaker.succeeded();
                Some(value)
            }
            Ok(Err(error)) => {
                self.breaker.failed(&error);
                None
            }
            Err(elapsed) => {
                self.breaker.failed(&elapsed);
                None
            }
        }
    }
}

impl PriceCache for RedisCache {
    fn get<'a>(&'a self, keys: &'a [RateKey]) -> BoxFuture<'a, Vec<Option<CachedRate>>> {
        Box::pin(async move {
            let mut command = redis::cmd("MGET");
            for key in keys {
                command.arg(self.key(key));
            }
            let Some(values) = self.run::<Vec<Option<Vec<u8>>>>(&command).await else {
                return vec![None; keys.len()];
            };
            let read = |value: Option<Vec<u8>>| {
                // What cannot be read is as good as absent.
                let entry: Entry = serde_json::from_slice(&value?).ok()?;
                Some(CachedRate {
                    selection: entry.selection,
                    read_at: entry.read_at,
                    served_from: ServedFrom::Redis,
                })
            };
            values.into_iter().map(read).collect()
        })
    }

    fn put<'a>(&'a self, entries: &'a [(RateKey, CachedRate)]) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let mut pipeline = redis::pipe();
            for (key, rate) in entries {
                let entry = Entry { read_at: rate.read_at, selection: Arc::clone(&rate.selection) };
                let value = serde_json::to_vec(&entry).expect("a plain struct is JSON");
                pipeline.set_ex(self.key(key), value, self.ttl.as_secs()).ignore();
            }
            if entries.is_empty() || !self.breaker.lets_through() {
                return;
            }
            let mut connection = self.connection.clone();
            let stored = pipeline.query_async::<()>(&mut connection);
            match tokio::time::timeout(self.timeout, stored).await {
                Ok(Ok(())) => self.breaker.succeeded(),
                Ok(Err(error)) => self.breaker.failed(&error),
                Err(elapsed) => self.breaker.failed(&elapsed),
            }
        })
    }
}

const FAILURES: &str = "mercuriale_redis_failures_total";
/// How many caches of this process have an open breaker: a count, since each cache has a breaker of its own.
const BREAKER_OPEN: &str = "mercuriale_redis_breaker_open";

/// Stops asking a Redis that does not answer.
#[derive(Debug)]
struct Breaker {
    began: Instant,
    failures: AtomicU32,
    /// Milliseconds after `began` until which it is open.
    open_until: AtomicU64,
}

impl Breaker {
    fn new() -> Self {
        metrics::gauge!(BREAKER_OPEN).increment(0);
        Self { began: Instant::now(), failures: AtomicU32::new(0), open_until: AtomicU64::new(0) }
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether to ask. After the breaker was open, one caller goes first; the others wait for what becomes of it.
    fn lets_through(&self) -> bool {
        let open_until = self.open_until.load(Ordering::Acquire);
        if open_until == 0 {
            return true;
        }
        let now = self.millis();
        now >= open_until
            && self
                .open_until
                .compare_exchange(open_until, now + OPEN_MILLIS, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
    }

    fn succeeded(&self) {
        self.failures.store(0, Ordering::Relaxed);
        if self.open_until.swap(0, Ordering::AcqRel) != 0 {
            metrics::gauge!(BREAKER_OPEN).decrement(1);
            tracing::info!("Redis answers again");
        }
    }

    fn failed(&self, error: &(dyn std::fmt::Display + Sync)) {
        metrics::counter!(FAILURES).increment(1);
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if failures >= FAILURES_UNTIL_OPEN {
            let until = self.millis() + OPEN_MILLIS;
            if self.open_until.swap(until, Ordering::AcqRel) == 0 {
                metrics::gauge!(BREAKER_OPEN).increment(1);
                tracing::warn!(%error, "Redis does not answer; prices come from PostgreSQL meanwhile");
            }
        }
    }
}

impl Drop for Breaker {
    fn drop(&mut self) {
        if *self.open_until.get_mut() != 0 {
            metrics::gauge!(BREAKER_OPEN).decrement(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_breaker_opens_after_failures_in_a_row_and_lets_one_try() {
        let breaker = Breaker::new();
        for _ in 1..FAILURES_UNTIL_OPEN {
            breaker.failed(&"down");
        }
        breaker.succeeded();
        for _ in 1..FAILURES_UNTIL_OPEN {
            breaker.failed(&"down");
            assert!(breaker.lets_through());
        }
        breaker.failed(&"down");
        assert!(!breaker.lets_through());
        // As if the time had passed.
        breaker.open_until.store(1, Ordering::Release);
        while breaker.millis() < 1 {
            std::hint::spin_loop();
        }
        assert!(breaker.lets_through());
        assert!(!breaker.lets_through());
        breaker.succeeded();
        assert!(breaker.lets_through());
    }
}
