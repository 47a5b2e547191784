//! Lists of a scope, any of them: what a refresh counts and leaves is what a simple model does.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rust_decimal::Decimal;

use crate::lists::{Ledger, counts};

/// A list of one scope: amounts in thousandths by price, and whether the list is whole.
#[derive(Debug, Clone)]
struct AnyList {
    prices: BTreeMap<u8, u32>,
    complete: bool,
    release: bool,
}

/// Lists that mostly resemble each other, as a source's do.
fn any_lists() -> impl Strategy<Value = Vec<AnyList>> {
    let amount = prop_oneof![8 => Just(10_000_u32), 2 => 9_980..10_030_u32, 1 => 0..3_u32];
    let price = prop_oneof![9 => amount.prop_map(Some), 1 => Just(None)];
    let list = (proptest::collection::vec(price, 14), proptest::bool::weighted(0.8), any::<bool>());
    proptest::collection::vec(list, 1..12).prop_map(|lists| {
        lists
            .into_iter()
            .map(|(prices, complete, release)| {
                let prices = (0..).zip(prices).filter_map(|(sku, amount)| Some((sku, amount?))).collect();
                AnyList { prices, complete, release }
            })
            .collect()
    })
}

/// The rules once more, written as simply as they are said.
#[derive(Debug, Default)]
struct Model {
    official: BTreeMap<u8, (Decimal, bool)>,
    /// Complete runs in a row without the price.
    missed: BTreeMap<u8, u32>,
    /// Missing in a released run and in every complete run since.
    accepted: BTreeSet<u8>,
}

#[derive(Debug, Default)]
struct Outcome {
    /// As `counts` gives them.
    counts: [u64; 8],
    quarantined: bool,
}

impl Model {
    fn take(&mut self, list: &AnyList) -> Outcome {
        let [mut listed, mut changed, mut unchanged, mut within, mut relisted] = [0_u64; 5];
        let mut next: BTreeMap<u8, (Decimal, bool)> = self.official.clone();
        let mut missed = self.missed.clone();
        for (&sku, &thousandths) in &list.prices {
            let amount = Decimal::new(thousandths.into(), 3);
            match self.official.get(&sku) {
                None => {
                    listed += 1;
                    next.insert(sku, (amount, true));
                }
                Some((_, false)) => {
                    relisted += 1;
                    next.insert(sku, (amount, true));
                    missed.remove(&sku);
                }
                Some((official, true)) if *official == amount => unchanged += 1,
                Some((official, true)) if (amount - official).abs() * Decimal::ONE_THOUSAND > *official => {
                    changed += 1;
                    next.insert(sku, (amount, true));
                }
                Some(_) => within += 1,
            }
            if list.complete {
                missed.remove(&sku);
            }
        }
        let in_force: BTreeSet<u8> =
            self.official.iter().filter(|(_, (_, in_force))| *in_force).map(|(sku, _)| *sku).collect();
        let absent: Vec<u8> = if list.complete {
            in_force.iter().copied().filter(|sku| !list.prices.contains_key(sku)).collect()
        } else {
            Vec::new()
        };
        let mut withdrawn = 0;
        for sku in &absent {
            let runs = missed.entry(*sku).or_default();
            *runs += 1;
            if *runs == 3 {
                withdrawn += 1;
                next.get_mut(sku).expect("is official").1 = false;
            }
        }
        let count = |number: usize| u64::try_from(number).expect("few");
        let (observed, not_observed) = (count(list.prices.len()), count(absent.len()));
        let quarantined = observed == 0
            || (not_observed - count(absent.iter().filter(|sku| self.accepted.contains(sku)).count())) * 10
                > count(in_force.len())
            || changed * 5 > changed + unchanged + within;
        if !quarantined || list.release {
            (self.official, self.missed) = (next, missed);
            if list.complete {
                self.accepted =
                    absent.into_iter().filter(|sku| quarantined || self.accepted.contains(sku)).collect();
            }
        }
        Outcome {
            counts: [observed, listed, changed, unchanged, within, not_observed, withdrawn, relisted],
            quarantined,
        }
    }
}

#[test]
fn any_lists_of_a_scope_give_what_a_simple_model_gives() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut runner = TestRunner::new(Config { cases: 16, failure_persistence: None, ..Config::default() });
    runner
        .run(&any_lists(), |lists| {
            runtime.block_on(async {
                let ledger = Ledger::new().await;
                let mut model = Model::default();
                for (on, list) in (0..).zip(&lists) {
                    let rows: Vec<(String, String)> = list
                        .prices
                        .iter()
                        .map(|(sku, amount)| (sku.to_string(), Decimal::new((*amount).into(), 3).to_string()))
                        .collect();
                    let rows: Vec<(&str, &str)> =
                        rows.iter().map(|(sku, amount)| (&**sku, &**amount)).collect();
                    let report = if list.complete {
                        ledger.csv("s", on, &rows).await
                    } else {
                        ledger.partial("s", on, &rows).await
                    };
                    let expected = model.take(list);
                    assert_eq!(counts(&report), expected.counts, "list {on} of {lists:#?}");
                    assert_eq!(report.quarantined, expected.quarantined, "list {on} of {lists:#?}");
                    if report.quarantined && list.release {
                        let released = ledger.release(report.refresh_id).await.expect("releases");
                        assert_eq!(counts(&released), expected.counts, "release of list {on} of {lists:#?}");
                    }
                    let official: BTreeMap<String, (Decimal, bool)> = model
                        .official
                        .iter()
                        .map(|(sku, (amount, in_force))| (sku.to_string(), (amount.normalize(), *in_force)))
                        .collect();
                    assert_eq!(ledger.official().await, official, "after list {on} of {lists:#?}");
                }
                ledger.database.assert_sound().await;
            });
            Ok(())
        })
        .expect("every history holds");
}
