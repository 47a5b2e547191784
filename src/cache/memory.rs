//! In this process.

use futures_util::future::BoxFuture;
use quick_cache::sync::Cache;

use super::{CachedRate, PriceCache, RateKey};
use crate::domain::arithmetic::ServedFrom;

/// A cache by line alone: an entry of an older namespace is replaced, not kept beside.
#[derive(Debug)]
pub struct MemoryCache(Cache<String, CachedRate>);

impl MemoryCache {
    /// A cache of at most `rates` entries of some 2 kB each; those used least go first.
    pub fn new(rates: usize) -> Self {
        Self(Cache::new(rates))
    }

    /// Drops what is cached of these places (`provider/service/region`), and nothing else.
    pub fn forget(&self, places: &[String]) {
        self.0.retain(|line, _| {
            let mut parts = line.splitn(4, '\0');
            let mut part = || parts.next().unwrap_or_default();
            let place = format!("{}/{}/{}", part(), part(), part());
            !places.contains(&place)
        });
    }
}

impl PriceCache for MemoryCache {
    fn get<'a>(&'a self, keys: &'a [RateKey]) -> BoxFuture<'a, Vec<Option<CachedRate>>> {
        let found = keys.iter().map(|key| self.0.get(&key.line)).collect();
        Box::pin(std::future::ready(found))
    }

    fn put<'a>(&'a self, entries: &'a [(RateKey, CachedRate)]) -> BoxFuture<'a, ()> {
        for (key, rate) in entries {
            self.0.insert(key.line.clone(), CachedRate { served_from: ServedFrom::Memory, ..rate.clone() });
        }
        Box::pin(std::future::ready(()))
    }
}
