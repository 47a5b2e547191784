//! Which prices a scope is known to have: absence is judged within it.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use futures_util::TryStreamExt as _;
use rust_decimal::Decimal;
use sqlx::PgConnection;
use uuid::Uuid;

use super::RefreshError;
use super::known::{Known, Official};
use crate::domain::refresh::{OfficialPrice, RUNS_UNTIL_WITHDRAWN};
use crate::ledger::segments::{self, Observation, SegmentError};

/// A run of the scope that counts.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(super) struct ScopeRun {
    pub(super) refresh_id: Uuid,
    pub(super) state: String,
    pub(super) complete: bool,
    pub(super) observed_at: DateTime<Utc>,
    not_observed_ids: String,
}

impl ScopeRun {
    /// Whether its outcome is part of the official prices.
    pub(super) fn recorded(&self) -> bool {
        self.state != "quarantined"
    }
}

/// Runs of a scope, newest first.
pub(super) async fn scope_runs(
    connection: &mut PgConnection,
    source: &str,
    scope: &str,
) -> Result<Vec<ScopeRun>, sqlx::Error> {
    sqlx::query_as(include_str!("sql/scope_runs.sql")).bind(source).bind(scope).fetch_all(connection).await
}

/// Official prices of the scope: what the last complete run observed or missed, and what partial runs since observed.
pub(super) async fn load(connection: &mut PgConnection, runs: &[ScopeRun]) -> Result<Known, RefreshError> {
    let mut ranges = Ranges::default();
    for run in runs.iter().filter(|run| run.recorded()) {
        for observation in observations(connection, run.refresh_id).await? {
            ranges.add(observation.price_id, observation.price_id);
        }
        if run.complete {
            for (first, last) in parse_multirange(&run.not_observed_ids) {
                ranges.add(first, last);
            }
            break;
        }
    }
    ranges.merge();
    let mut known = Known::with_capacity(usize::try_from(ranges.len()).unwrap_or_default());
    let (first, last): (Vec<i64>, Vec<i64>) = ranges.0.into_iter().unzip();
    let mut rows =
        sqlx::query_as::<_, (i64, String, Decimal, bool, DateTime<Utc>)>(include_str!("sql/officials.sql"))
            .bind(first)
            .bind(last)
            .fetch(connection);
    while let Some((price_id, key, amount, in_force, effective_at)) = rows.try_next().await? {
        let price = OfficialPrice { amount, in_force, effective_at };
        known.insert(&key, Official { price_id, price, covered: true });
    }
    Ok(known)
}

/// What a run observed, by price id.
pub(super) async fn observations(
    connection: &mut PgConnection,
    refresh_id: Uuid,
) -> Result<Vec<Observation>, RefreshError> {
    let stored: Vec<Vec<u8>> = sqlx::query_scalar(include_str!("sql/run_segments.sql"))
        .bind(refresh_id)
        .fetch_all(&mut *connection)
        .await?;
    let mut observations = Vec::new();
    for sha256 in stored {
        let content = segments::load(connection, &sha256).await?;
        observations.extend(
            segments::decode(&content).map_err(|what| SegmentError::Damaged(hex::encode(&sha256), what))?,
        );
    }
    Ok(observations)
}

/// Complete runs before the one at hand that a price must be missed by to be withdrawn.
const RUNS_BEFORE: usize = RUNS_UNTIL_WITHDRAWN as usize - 1;

fn complete_runs(runs: &[ScopeRun]) -> impl Iterator<Item = &ScopeRun> {
    runs.iter().filter(|run| run.recorded() && run.complete)
}

/// The run that a withdrawal counts from, if there were enough.
pub(super) fn first_missed(runs: &[ScopeRun]) -> Option<&ScopeRun> {
    complete_runs(runs).nth(RUNS_BEFORE - 1)
}

/// The prices that the complete runs before missed as well, in ascending order.
pub(super) fn missed_before(runs: &[ScopeRun], missing: &[i64]) -> Vec<i64> {
    let earlier: Vec<Vec<(i64, i64)>> =
        complete_runs(runs).take(RUNS_BEFORE).map(|run| parse_multirange(&run.not_observed_ids)).collect();
    if earlier.len() < RUNS_BEFORE {
        return Vec::new();
    }
    missing.iter().copied().filter(|&id| earlier.iter().all(|ranges| holds(ranges, id))).collect()
}

/// How many of the missing prices an administrator has accepted to be gone: those missed by a released run and by every
/// complete run since. Without this, a released list would be quarantined again each time until the third.
pub(super) fn accepted_missing(runs: &[ScopeRun], missing: &BTreeSet<i64>) -> usize {
    let mut since: Vec<Vec<(i64, i64)>> = Vec::new();
    for run in complete_runs(runs).take(RUNS_BEFORE) {
        since.push(parse_multirange(&run.not_observed_ids));
        if run.state == "released" {
            return missing.iter().filter(|&&id| since.iter().all(|ranges| holds(ranges, id))).count();
        }
    }
    0
}

/// Whether an id is in ranges in ascending order.
fn holds(ranges: &[(i64, i64)], id: i64) -> bool {
    let place = ranges.binary_search_by(|&(first, last)| {
        if last < id {
            std::cmp::Ordering::Less
        } else if first > id {
            std::cmp::Ordering::Greater
        } else {
            std::cmp::Ordering::Equal
        }
    });
    place.is_ok()
}

/// Ranges of price ids, both ends included.
#[derive(Debug, Default)]
struct Ranges(Vec<(i64, i64)>);

impl Ranges {
    fn add(&mut self, first: i64, last: i64) {
        match self.0.last_mut() {
            Some((_, end)) if *end + 1 == first => *end = last,
            _ => self.0.push((first, last)),
        }
    }

    /// Sorts, and joins what overlaps or touches.
    fn merge(&mut self) {
        let mut sorted = std::mem::take(&mut self.0);
        sorted.sort_unstable();
        for (first, last) in sorted {
            match self.0.last_mut() {
                Some((_, end)) if first <= *end + 1 => *end = (*end).max(last),
                _ => self.0.push((first, last)),
            }
        }
    }

    fn len(&self) -> i64 {
        self.0.iter().map(|(first, last)| last - first + 1).sum()
    }
}

/// PostgreSQL's canonical text of an `int8multirange`, such as `{[1,3),[7,8)}`, as ranges with both ends included.
pub(super) fn parse_multirange(text: &str) -> Vec<(i64, i64)> {
    text.trim_matches(['{', '}'])
        .split("),")
        .filter_map(|range| {
            let (first, end) = range.trim_matches(['[', ')']).split_once(',')?;
            Some((first.parse().ok()?, end.parse::<i64>().ok()? - 1))
        })
        .collect()
}

/// The same text for ids in ascending order.
pub(super) fn format_multirange(ids: &BTreeSet<i64>) -> String {
    let mut ranges = Ranges::default();
    for &id in ids {
        ranges.add(id, id);
    }
    let ranges: Vec<String> =
        ranges.0.iter().map(|(first, last)| format!("[{first},{})", last + 1)).collect();
    format!("{{{}}}", ranges.join(","))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ids_survive_their_text(ids in proptest::collection::btree_set(1..200_i64, 0..50)) {
            let read: BTreeSet<i64> =
                parse_multirange(&format_multirange(&ids)).into_iter().flat_map(|(first, last)| first..=last).collect();
            prop_assert_eq!(read, ids);
        }

        #[test]
        fn merged_ranges_hold_the_same_ids(parts in proptest::collection::vec((0..100_i64, 0..10_i64), 0..20)) {
            let mut ranges = Ranges::default();
            for &(first, length) in &parts {
                ranges.add(first, first + length);
            }
            ranges.merge();
            let wanted: BTreeSet<i64> = parts.iter().flat_map(|&(first, length)| first..=first + length).collect();
            prop_assert_eq!(ranges.len(), i64::try_from(wanted.len()).expect("few"));
            let held: BTreeSet<i64> = ranges.0.iter().flat_map(|&(first, last)| first..=last).collect();
            prop_assert_eq!(held, wanted);
        }
    }

    fn run(state: &str, complete: bool, not_observed_ids: &str) -> ScopeRun {
        ScopeRun {
            refresh_id: Uuid::nil(),
            state: state.to_owned(),
            complete,
            observed_at: DateTime::UNIX_EPOCH,
            not_observed_ids: not_observed_ids.to_owned(),
        }
    }

    #[test]
    fn a_price_is_withdrawn_after_being_missed_by_complete_runs_in_a_row() {
        let runs = [
            run("completed", true, "{[1,4)}"),
            run("completed", false, "{}"),
            run("quarantined", true, "{[1,100)}"),
            run("released", true, "{[2,9)}"),
            run("completed", true, "{}"),
        ];
        assert_eq!(missed_before(&runs, &[1, 2, 3, 8]), [2, 3]);
        assert_eq!(missed_before(&runs[..3], &[1, 2]), Vec::<i64>::new());
    }

    #[test]
    fn what_an_administrator_accepted_to_be_missing_is_not_suspicious_again() {
        let missing: BTreeSet<i64> = [1, 2, 3, 8, 20].into();
        let released = run("released", true, "{[2,9)}");
        let after = [run("completed", true, "{[1,4)}"), released.clone()];
        assert_eq!(accepted_missing(&after[1..], &missing), 3);
        assert_eq!(accepted_missing(&after, &missing), 2);
        let long_after = [run("completed", true, "{}"), run("completed", true, "{}"), released];
        assert_eq!(accepted_missing(&long_after, &missing), 0);
    }
}
