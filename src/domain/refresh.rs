//! The rules of a refresh: what an observation means beside the official price, and when a list is suspicious.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;

use super::event::RefreshCounts;
use super::money::is_change;

/// Complete runs in a row without a price after which it is withdrawn.
pub const RUNS_UNTIL_WITHDRAWN: u32 = 3;

/// The figures an operator may set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// A price changed if it moved by more than this part of the official price. Default 0.001.
    pub change_threshold: Decimal,
    /// A list that lacks more than this part of its scope's prices is quarantined. Default 0.10.
    pub missing_limit: Decimal,
    /// A list that changes more than this part of the prices it shows is quarantined. Default 0.20.
    pub changed_limit: Decimal,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            change_threshold: Decimal::new(1, 3),
            missing_limit: Decimal::new(10, 2),
            changed_limit: Decimal::new(20, 2),
        }
    }
}

/// What an observation of a price on record means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Exactly the official price, or older than it.
    Unchanged,
    /// Different, but not by more than the threshold: the official price stays.
    WithinThreshold,
    /// The observed price is the official one from now on.
    Changed,
    /// It was withdrawn and is offered again.
    Relisted,
}

/// The official price of something, in force or withdrawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OfficialPrice {
    /// Per pricing unit.
    pub amount: Decimal,
    /// Whether it is offered.
    pub in_force: bool,
    /// When its source showed it.
    pub effective_at: DateTime<Utc>,
}

/// Compares an observation with the official price. The official price, not the last observation, is what counts, so a
/// slow drift adds up until it is a change. What another source showed later stays: an older list is no news.
pub fn judge(
    official: &OfficialPrice,
    observed: Decimal,
    observed_at: DateTime<Utc>,
    rules: &Rules,
) -> Verdict {
    if official.amount == observed && official.in_force || observed_at < official.effective_at {
        Verdict::Unchanged
    } else if !official.in_force {
        Verdict::Relisted
    } else if is_change(official.amount, observed, rules.change_threshold) {
        Verdict::Changed
    } else {
        Verdict::WithinThreshold
    }
}

/// Why a list is not to be believed without an administrator's word; `None` if it is. `in_force` is the number of the
/// scope's prices in force before the run, `accepted` that of the missing ones whose absence has been accepted.
pub fn suspicion(counts: &RefreshCounts, in_force: u64, accepted: u64, rules: &Rules) -> Option<String> {
    let percent = |limit: Decimal| (limit * Decimal::ONE_HUNDRED).normalize();
    let compared = counts.changed + counts.unchanged + counts.within_threshold;
    if counts.observed == 0 {
        Some("the list is empty".to_owned())
    } else if Decimal::from(counts.not_observed - accepted) > rules.missing_limit * Decimal::from(in_force) {
        Some(format!(
            "{} of the scope's {in_force} prices are missing, more than {} %",
            counts.not_observed - accepted,
            percent(rules.missing_limit)
        ))
    } else if Decimal::from(counts.changed) > rules.changed_limit * Decimal::from(compared) {
        Some(format!(
            "{} of {compared} prices changed, more than {} %",
            counts.changed,
            percent(rules.changed_limit)
        ))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Decimal {
        text.parse().expect("a decimal")
    }

    fn day(day: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(day * 86_400, 0).expect("a day")
    }

    fn official_price(amount: &str, in_force: bool) -> OfficialPrice {
        OfficialPrice { amount: decimal(amount), in_force, effective_at: day(1) }
    }

    #[test]
    fn an_observation_is_judged_by_the_official_price() {
        let rules = Rules::default();
        for (official, in_force, observed, verdict) in [
            ("1", true, "1.0", Verdict::Unchanged),
            ("1", true, "1.001", Verdict::WithinThreshold),
            ("1", true, "1.0011", Verdict::Changed),
            ("0", true, "0.1", Verdict::Changed),
            ("1", false, "1", Verdict::Relisted),
        ] {
            let official = official_price(official, in_force);
            assert_eq!(
                judge(&official, decimal(observed), day(2), &rules),
                verdict,
                "{official:?} {observed}"
            );
        }
    }

    #[test]
    fn an_older_list_of_another_scope_is_no_news() {
        let rules = Rules::default();
        assert_eq!(judge(&official_price("1", true), decimal("2"), day(0), &rules), Verdict::Unchanged);
        assert_eq!(judge(&official_price("1", false), decimal("1"), day(0), &rules), Verdict::Unchanged);
        assert_eq!(judge(&official_price("1", true), decimal("2"), day(1), &rules), Verdict::Changed);
    }

    #[test]
    fn a_slow_drift_adds_up_until_it_counts() {
        let rules = Rules::default();
        let mut official = official_price("1", true);
        let mut changes = Vec::new();
        for step in 1..=10 {
            let observed = decimal("1") + Decimal::new(step * 4, 4);
            if judge(&official, observed, day(1 + step), &rules) == Verdict::Changed {
                official.amount = observed;
                changes.push(step);
            }
        }
        assert_eq!(changes, [3, 6, 9]);
    }

    #[test]
    fn limits_are_exceeded_not_reached() {
        let counts = |observed, unchanged, changed, not_observed| RefreshCounts {
            observed,
            changed,
            unchanged,
            not_observed,
            ..RefreshCounts::default()
        };
        let rules = Rules::default();
        assert_eq!(suspicion(&counts(90, 90, 0, 10), 100, 0, &rules), None);
        assert!(
            suspicion(&counts(89, 89, 0, 11), 100, 0, &rules)
                .is_some_and(|why| why.contains("11 of the scope's 100"))
        );
        assert_eq!(suspicion(&counts(100, 80, 20, 0), 100, 0, &rules), None);
        assert!(
            suspicion(&counts(100, 79, 21, 0), 100, 0, &rules).is_some_and(|why| why.contains("21 of 100"))
        );
        assert!(suspicion(&counts(0, 0, 0, 0), 0, 0, &rules).is_some_and(|why| why.contains("empty")));
        assert_eq!(suspicion(&counts(70, 70, 0, 30), 100, 20, &rules), None);
        assert!(suspicion(&counts(69, 69, 0, 31), 100, 20, &rules).is_some_and(|why| why.contains("11 of")));
        let first_list = RefreshCounts { observed: 5, listed: 5, ..RefreshCounts::default() };
        assert_eq!(suspicion(&first_list, 0, 0, &rules), None);
    }
}
