//! The prices that a scope is known to have, and what the list at hand shows of them.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sha2::{Digest, Sha256};

use crate::domain::refresh::OfficialPrice;

/// First half of a key's SHA-256: two keys with the same one are beyond anybody's reach. A tuple, since the elements of
/// an array would reach [`FirstWord`] as bytes.
type KeyHash = (u64, u64);

fn key_hash(key: &str) -> KeyHash {
    let digest = Sha256::digest(key);
    let word = |at: usize| u64::from_le_bytes(digest[at..at + 8].try_into().expect("eight bytes"));
    (word(0), word(8))
}

/// Hashes what is a hash already.
#[derive(Debug, Default)]
struct FirstWord(u64);

impl Hasher for FirstWord {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("a key hash is made of words");
    }

    fn write_u64(&mut self, word: u64) {
        if self.0 == 0 {
            self.0 = word;
        }
    }
}

type FirstWordBuilder = BuildHasherDefault<FirstWord>;

/// A price on record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Official {
    pub(super) price_id: i64,
    pub(super) price: OfficialPrice,
    /// Whether the scope's runs are known to show it, so that its absence counts.
    pub(super) covered: bool,
}

/// What the list shows of a price on record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub(super) amount: Decimal,
    valid_from: Option<DateTime<Utc>>,
}

/// Prices on record by key. About 130 bytes each; the rest of a list never stays in memory.
#[derive(Debug, Default)]
pub(super) struct Known {
    index: HashMap<KeyHash, u32, FirstWordBuilder>,
    officials: Vec<Official>,
    seen: Vec<Option<Seen>>,
}

/// What to do with a price of the list.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Noted {
    /// It is on record.
    OnRecord,
    /// It is not known here.
    Unknown,
    /// The list has it twice, with another amount.
    Contradiction(Decimal),
}

impl Known {
    pub(super) fn with_capacity(prices: usize) -> Self {
        Self {
            index: HashMap::with_capacity_and_hasher(prices, FirstWordBuilder::default()),
            officials: Vec::with_capacity(prices),
            seen: Vec::with_capacity(prices),
        }
    }

    pub(super) fn insert(&mut self, key: &str, official: Official) {
        let place = u32::try_from(self.officials.len()).expect("a scope has fewer than 2^32 prices");
        self.index.insert(key_hash(key), place);
        self.push(official, None);
    }

    /// Adds a price that needs no look-up by key any more.
    pub(super) fn push(&mut self, official: Official, seen: Option<Decimal>) {
        self.officials.push(official);
        self.seen.push(seen.map(|amount| Seen { amount, valid_from: None }));
    }

    /// Notes an observation. Of two versions in force at once, the one that started later counts.
    pub(super) fn note(&mut self, key: &str, amount: Decimal, valid_from: Option<DateTime<Utc>>) -> Noted {
        let Some(&place) = self.index.get(&key_hash(key)) else { return Noted::Unknown };
        let seen = &mut self.seen[place as usize];
        match seen {
            Some(before) if before.valid_from == valid_from && before.amount != amount => {
                return Noted::Contradiction(before.amount);
            }
            Some(before) if before.valid_from >= valid_from => {}
            _ => *seen = Some(Seen { amount, valid_from }),
        }
        Noted::OnRecord
    }

    /// Brings the official side up to date with what was recorded while the list was read.
    pub(super) fn update(&mut self, moved: &HashMap<i64, OfficialPrice>) {
        if moved.is_empty() {
            return;
        }
        for official in &mut self.officials {
            if let Some(&price) = moved.get(&official.price_id) {
                official.price = price;
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Official, Option<Decimal>)> {
        self.officials.iter().zip(self.seen.iter().map(|seen| seen.map(|seen| seen.amount)))
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher as _;

    use super::*;

    fn known() -> Known {
        let mut known = Known::default();
        let price =
            OfficialPrice { amount: Decimal::ONE, in_force: true, effective_at: DateTime::UNIX_EPOCH };
        known.insert("a", Official { price_id: 1, price, covered: true });
        known
    }

    fn at(day: i64) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp(day * 86_400, 0)
    }

    fn seen(known: &Known) -> Option<Decimal> {
        known.iter().next().and_then(|(_, seen)| seen)
    }

    #[test]
    fn keys_are_spread_over_the_index() {
        let hashes: std::collections::HashSet<u64> =
            (0..100).map(|n| FirstWordBuilder::default().hash_one(key_hash(&n.to_string()))).collect();
        assert_eq!(hashes.len(), 100);
    }

    #[test]
    fn the_version_that_started_later_counts() {
        for order in [[1, 2], [2, 1]] {
            let mut known = known();
            for day in order {
                assert_eq!(known.note("a", Decimal::from(day), at(day)), Noted::OnRecord);
            }
            assert_eq!(seen(&known), Some(Decimal::TWO));
        }
    }

    #[test]
    fn a_repetition_is_one_observation_and_a_contradiction_is_told() {
        let mut known = known();
        assert_eq!(known.note("a", Decimal::ONE, None), Noted::OnRecord);
        assert_eq!(known.note("a", Decimal::ONE, None), Noted::OnRecord);
        assert_eq!(known.note("a", Decimal::TWO, None), Noted::Contradiction(Decimal::ONE));
        assert_eq!(known.note("b", Decimal::TWO, None), Noted::Unknown);
    }
}
