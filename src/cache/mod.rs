//! Caches of chosen rates: in this process, and in a Redis that replicas share.
//!
//! A cache holds nothing that PostgreSQL does not. Whoever uses an entry validates it first, so a cache may hold stale
//! entries and may lose any; it must not invent one.

mod memory;
mod redis;

pub use memory::MemoryCache;
pub use redis::{RedisCache, RedisError};

use std::fmt::Debug;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::domain::arithmetic::ServedFrom;
use crate::domain::selection::Selection;

/// What a rate is cached under.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RateKey {
    /// Everything that the choice of the rate depends on.
    pub line: String,
    /// Its place (provider, service, region) and the position at which prices last moved there. A refresh that moves
    /// prices changes it, which empties a shared cache of that place at no cost.
    pub namespace: String,
}

/// The rate that a line means, and the position at which that was so.
#[derive(Debug, Clone)]
pub struct CachedRate {
    /// What was chosen.
    pub selection: Arc<Selection>,
    /// The ledger's position when it was read.
    pub read_at: i64,
    /// The cache it comes from.
    pub served_from: ServedFrom,
}

/// A cache of rates.
pub trait PriceCache: Debug + Send + Sync {
    /// Entries for `keys`, in their order; in one round trip, if there is any.
    fn get<'a>(&'a self, keys: &'a [RateKey]) -> BoxFuture<'a, Vec<Option<CachedRate>>>;
    /// Keeps entries, as far as it can.
    fn put<'a>(&'a self, entries: &'a [(RateKey, CachedRate)]) -> BoxFuture<'a, ()>;
}
