//! The rules of a refresh, on a real ledger.

use mercuriale::domain::event::{RefreshStarted, refresh_stream};
use mercuriale::sources::Format;
use mercuriale::sources::refresh::{RefreshError, refresh_get};
use rust_decimal::Decimal;
use uuid::Uuid;

use crate::lists::{Ledger, aws, azure_item, azure_page, counts, day, decimal};

/// Ten prices, so that a single one is within the limits of a suspicious list.
const TEN: [(&str, &str); 10] = [
    ("a", "1"),
    ("b", "2"),
    ("c", "3"),
    ("d", "4"),
    ("e", "5"),
    ("f", "6"),
    ("g", "7"),
    ("h", "8"),
    ("i", "9"),
    ("j", "0"),
];

/// Ten prices, of which some moved and some are gone (no amount).
fn ten_but<'a>(moves: &[(&str, &'a str)]) -> Vec<(&'static str, &'a str)> {
    TEN.iter()
        .map(|&(sku, amount)| {
            (sku, moves.iter().find(|(moved, _)| *moved == sku).map_or(amount, |(_, to)| to))
        })
        .filter(|(_, amount)| !amount.is_empty())
        .collect()
}

#[tokio::test]
async fn a_first_list_is_listed_and_the_same_again_costs_no_new_segment() {
    let ledger = Ledger::new().await;
    let first = ledger.csv("s", 0, &TEN).await;
    assert_eq!(counts(&first), [10, 10, 0, 0, 0, 0, 0, 0]);
    assert!(first.complete && !first.quarantined);
    let mut expected = vec!["refresh.started"];
    expected.extend(["price.listed"; 10]);
    expected.extend(["prices.observed", "refresh.completed"]);
    assert_eq!(ledger.events_after(0).await, expected);
    ledger.assert_official(&TEN).await;
    assert_eq!(ledger.segments().await, 1);

    let head = ledger.head().await;
    // Another order and other zeros are the same prices.
    let same: Vec<(&str, &str)> = ten_but(&[("a", "1.000"), ("j", "0.0")]).into_iter().rev().collect();
    let second = ledger.csv("s", 1, &same).await;
    assert_eq!(counts(&second), [10, 0, 0, 10, 0, 0, 0, 0]);
    assert_eq!(ledger.events_after(head).await, ["refresh.started", "prices.observed", "refresh.completed"]);
    assert_eq!(ledger.segments().await, 1);
    ledger.assert_official(&TEN).await;
}

#[tokio::test]
async fn a_price_changes_beyond_a_thousandth_and_from_zero() {
    let ledger = Ledger::new().await;
    ledger.csv("s", 0, &TEN).await;
    // At and below the threshold: nothing official moves.
    let at = ledger.csv("s", 1, &ten_but(&[("a", "1.001"), ("b", "1.999")])).await;
    assert_eq!(counts(&at), [10, 0, 0, 8, 2, 0, 0, 0]);
    ledger.assert_official(&TEN).await;
    let above =
        ledger.csv("s", 2, &ten_but(&[("a", "1.001000000000000000000000001"), ("j", "0.0000001")])).await;
    assert_eq!(counts(&above), [10, 0, 2, 8, 0, 0, 0, 0]);
    ledger.assert_official(&ten_but(&[("a", "1.001000000000000000000000001"), ("j", "0.0000001")])).await;
}

#[tokio::test]
async fn a_slow_drift_adds_up() {
    let ledger = Ledger::new().await;
    ledger.csv("s", 0, &TEN).await;
    let mut changed = Vec::new();
    for (run, amount) in (1..).zip(["1.0004", "1.0008", "1.0012", "1.0016", "1.0020", "1.0024"]) {
        if ledger.csv("s", run, &ten_but(&[("a", amount)])).await.counts.changed == 1 {
            changed.push(amount);
        }
    }
    // 1.0024 is 0.12 % above 1.0012.
    assert_eq!(changed, ["1.0012", "1.0024"]);
    ledger.assert_official(&ten_but(&[("a", "1.0024")])).await;
}

#[tokio::test]
async fn a_price_is_withdrawn_by_the_third_complete_run_without_it_and_relisted_at_its_new_amount() {
    let ledger = Ledger::new().await;
    ledger.csv("s", 0, &TEN).await;
    let without = ten_but(&[("a", "")]);
    for run in 1..=2 {
        assert_eq!(counts(&ledger.csv("s", run, &without).await), [9, 0, 0, 9, 0, 1, 0, 0]);
    }
    // A partial list neither counts as a run without the price nor breaks the row of those that do.
    assert_eq!(counts(&ledger.partial("s", 3, &[("b", "2")]).await), [1, 0, 0, 1, 0, 0, 0, 0]);
    ledger.assert_official(&TEN).await;
    assert_eq!(counts(&ledger.csv("s", 4, &without).await), [9, 0, 0, 9, 0, 1, 1, 0]);
    let mut withdrawn = TEN;
    withdrawn[0].0 = "-a";
    ledger.assert_official(&withdrawn).await;
    // It is not missing any more.
    assert_eq!(counts(&ledger.csv("s", 5, &without).await), [9, 0, 0, 9, 0, 0, 0, 0]);
    let back = ledger.csv("s", 6, &ten_but(&[("a", "1.0001")])).await;
    assert_eq!(counts(&back), [10, 0, 0, 9, 0, 0, 0, 1]);
    ledger.assert_official(&ten_but(&[("a", "1.0001")])).await;
}

#[tokio::test]
async fn a_price_that_comes_back_in_time_starts_anew() {
    let ledger = Ledger::new().await;
    ledger.csv("s", 0, &TEN).await;
    let without = ten_but(&[("a", "")]);
    ledger.csv("s", 1, &without).await;
    ledger.csv("s", 2, &without).await;
    ledger.csv("s", 3, &TEN).await;
    for run in 4..=5 {
        assert_eq!(ledger.csv("s", run, &without).await.counts.withdrawn, 0);
    }
    assert_eq!(ledger.csv("s", 6, &without).await.counts.withdrawn, 1);
}

#[tokio::test]
async fn a_relisted_price_is_not_withdrawn_for_what_it_missed_before() {
    let ledger = Ledger::new().await;
    ledger.csv("s", 0, &TEN).await;
    let without = ten_but(&[("a", "")]);
    for run in 1..=3 {
        ledger.csv("s", run, &without).await;
    }
    // A partial list brings it back: the complete ones before it know nothing of that.
    assert_eq!(counts(&ledger.partial("s", 4, &[("a", "1")]).await), [1, 0, 0, 0, 0, 0, 0, 1]);
    for run in 5..=6 {
        assert_eq!(counts(&ledger.csv("s", run, &without).await), [9, 0, 0, 9, 0, 1, 0, 0]);
        ledger.assert_official(&TEN).await;
    }
    assert_eq!(counts(&ledger.csv("s", 7, &without).await), [9, 0, 0, 9, 0, 1, 1, 0]);
}

#[tokio::test]
async fn many_partial_lists_do_not_make_a_scope_forget_its_prices() {
    let ledger = Ledger::new().await;
    ledger.csv("s", 0, &TEN).await;
    for run in 1..=60 {
        ledger.partial("s", run, &[("b", "2")]).await;
    }
    assert_eq!(ledger.csv("s", 61, &ten_but(&[("a", "")])).await.counts.not_observed, 1);
}

#[tokio::test]
async fn a_suspicious_list_is_observed_and_nothing_else() {
    let missing_two = ten_but(&[("a", ""), ("b", "")]);
    let changed_three = ten_but(&[("a", "2"), ("b", "3"), ("c", "4")]);
    let mut with_new = missing_two.clone();
    with_new.push(("new", "1"));
    let suspicious = [
        (missing_two, "2 of the scope's 10 prices are missing", [8, 0, 0, 8, 0, 2, 0, 0], 1),
        (changed_three, "3 of 10 prices changed", [10, 0, 3, 7, 0, 0, 0, 0], 1),
        (with_new, "2 of the scope's 10 prices are missing", [9, 1, 0, 8, 0, 2, 0, 0], 1),
        (Vec::new(), "empty", [0, 0, 0, 0, 0, 10, 0, 0], 0),
    ];
    let ledger = Ledger::new().await;
    ledger.csv("s", 0, &TEN).await;
    for (run, (list, reason, expected, stretches)) in (1..).zip(suspicious) {
        let head = ledger.head().await;
        let report = ledger.csv("s", run, &list).await;
        assert!(report.quarantined, "{reason}");
        assert!(report.reason.as_deref().is_some_and(|given| given.contains(reason)), "{report:?}");
        assert_eq!(counts(&report), expected, "{reason}");
        let mut events = vec!["refresh.started"];
        events.extend(vec!["prices.observed"; stretches]);
        events.push("refresh.quarantined");
        assert_eq!(ledger.events_after(head).await, events, "{reason}");
        ledger.assert_official(&TEN).await;
    }
    // What was quarantined does not count as runs without a price.
    assert_eq!(counts(&ledger.csv("s", 9, &TEN).await), [10, 0, 0, 10, 0, 0, 0, 0]);
}

#[tokio::test]
async fn a_first_list_that_is_empty_is_quarantined() {
    let ledger = Ledger::new().await;
    assert!(ledger.csv("s", 0, &[]).await.quarantined);
    assert_eq!(ledger.events_after(0).await, ["refresh.started", "refresh.quarantined"]);
    ledger.database.assert_sound().await;
}

#[tokio::test]
async fn a_released_list_counts_in_full() {
    let ledger = Ledger::new().await;
    ledger.csv("s", 0, &TEN).await;
    let mut list = ten_but(&[("a", "1.5"), ("b", "2.5"), ("c", "3.5"), ("d", "")]);
    list.push(("new", "12"));
    let quarantined = ledger.csv("s", 1, &list).await;
    assert_eq!(counts(&quarantined), [10, 1, 3, 6, 0, 1, 0, 0]);
    assert!(quarantined.quarantined);
    ledger.assert_official(&TEN).await;

    let head = ledger.head().await;
    let released = ledger.release(quarantined.refresh_id).await.expect("releases");
    assert_eq!(counts(&released), counts(&quarantined));
    assert!(!released.quarantined);
    assert_eq!(
        ledger.events_after(head).await,
        [
            "price.listed",
            "price.changed",
            "price.changed",
            "price.changed",
            "prices.observed",
            "refresh.released"
        ]
    );
    let mut official = ten_but(&[("a", "1.5"), ("b", "2.5"), ("c", "3.5")]);
    official.push(("new", "12"));
    ledger.assert_official(&official).await;

    // The scope knows the price it listed, and the price it missed once.
    let mut next = ten_but(&[("a", "1.5"), ("b", "2.5"), ("c", "3.5"), ("d", "")]);
    for (run, withdrawn) in [(2, 0), (3, 1)] {
        let report = ledger.csv("s", run, &list).await;
        assert_eq!(counts(&report), [10, 0, 0, 10, 0, 1, withdrawn, 0]);
    }
    next.retain(|(sku, _)| *sku != "new");
    assert_eq!(counts(&ledger.csv("s", 4, &next).await), [9, 0, 0, 9, 0, 1, 0, 0]);
    ledger.database.assert_sound().await;
}

#[tokio::test]
async fn what_was_accepted_to_be_missing_does_not_quarantine_the_next_lists() {
    let ledger = Ledger::new().await;
    ledger.csv("s", 0, &TEN).await;
    let without = ten_but(&[("a", ""), ("b", ""), ("c", "")]);
    let quarantined = ledger.csv("s", 1, &without).await;
    assert!(quarantined.quarantined);
    ledger.release(quarantined.refresh_id).await.expect("releases");
    for (day, withdrawn) in [(2, 0), (3, 3)] {
        let report = ledger.csv("s", day, &without).await;
        assert!(!report.quarantined, "{report:?}");
        assert_eq!(counts(&report), [7, 0, 0, 7, 0, 3, withdrawn, 0]);
    }
    // What goes missing beyond that is suspicious as ever.
    let more = ten_but(&[("a", ""), ("b", ""), ("c", ""), ("d", ""), ("e", "")]);
    assert!(ledger.csv("s", 4, &more).await.quarantined);
    ledger.database.assert_sound().await;
}

#[tokio::test]
async fn a_list_is_released_once_in_order_and_only_if_it_waits() {
    let ledger = Ledger::new().await;
    let completed = ledger.csv("s", 0, &TEN).await;
    let few = [("a", "1")];
    let older = ledger.csv("s", 1, &few).await;
    let newer = ledger.csv("s", 2, &few).await;
    ledger.release(newer.refresh_id).await.expect("releases");
    let head = ledger.head().await;
    for (refresh_id, expected) in [
        (newer.refresh_id, "there is no quarantined refresh"),
        (completed.refresh_id, "there is no quarantined refresh"),
        (Uuid::now_v7(), "there is no quarantined refresh"),
        (older.refresh_id, "an older list cannot be applied after a newer one"),
    ] {
        let error = ledger.release(refresh_id).await.expect_err(expected);
        assert!(matches!(error, RefreshError::NotReleasable(_)), "{error:?}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    assert_eq!(ledger.head().await, head);
    ledger.assert_official(&TEN).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_administrators_release_a_list_once() {
    let ledger = Ledger::new().await;
    ledger.csv("s", 0, &TEN).await;
    let list = [("a", "5"), ("new", "6")];
    let quarantined = ledger.csv("s", 1, &list).await.refresh_id;
    let head = ledger.head().await;
    let outcomes = futures_util::future::join_all((0..4).map(|_| ledger.release(quarantined))).await;
    let released = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!(released, 1, "{outcomes:?}");
    assert_eq!(
        ledger.events_after(head).await,
        ["price.listed", "price.changed", "prices.observed", "refresh.released"]
    );
    ledger.database.assert_sound().await;
}

#[tokio::test]
async fn a_price_listed_elsewhere_while_its_list_waited_belongs_to_both_scopes() {
    let ledger = Ledger::new().await;
    ledger.csv("s", 0, &TEN).await;
    let mut list = ten_but(&[("a", ""), ("b", "")]);
    list.push(("new", "5"));
    let waiting = ledger.csv("s", 1, &list).await;
    ledger.csv("other", 1, &[("new", "5")]).await;
    let released = ledger.release(waiting.refresh_id).await.expect("releases");
    assert_eq!(counts(&released), [9, 0, 0, 9, 0, 2, 0, 0]);
    // Its absence counts from now on.
    assert_eq!(ledger.csv("s", 2, &TEN).await.counts.not_observed, 1);
    ledger.database.assert_sound().await;
}

#[tokio::test]
async fn a_list_that_is_not_newer_is_refused_without_a_trace() {
    let ledger = Ledger::new().await;
    ledger.csv("s", 5, &TEN).await;
    let waiting = ledger.csv("s", 6, &[]).await;
    assert!(waiting.quarantined);
    let head = ledger.head().await;
    for on in [4, 5, 6] {
        let error = ledger.try_csv("s", on, &TEN).await.expect_err("older");
        assert!(matches!(error, RefreshError::Refused(_)), "{error:?}");
        assert!(error.to_string().contains("older lists are refused"), "{error}");
    }
    // One from the far future would keep out all that come after it.
    let error = ledger.try_csv("s", 100_000, &TEN).await.expect_err("from the future");
    assert!(matches!(error, RefreshError::Refused(_)), "{error:?}");
    assert!(error.to_string().contains("in the future"), "{error}");
    assert_eq!(ledger.head().await, head);
    // Another scope has a time of its own.
    assert_eq!(counts(&ledger.csv("other", 1, &[("z", "1")]).await), [1, 1, 0, 0, 0, 0, 0, 0]);
    ledger.database.assert_sound().await;
}

#[tokio::test]
async fn scopes_of_one_source_miss_nothing_of_each_other() {
    let ledger = Ledger::new().await;
    ledger.csv("s", 0, &TEN).await;
    ledger.csv("t", 0, &[("x", "1"), ("y", "2")]).await;
    for run in 1..=4 {
        assert_eq!(counts(&ledger.csv("s", run, &TEN).await), [10, 0, 0, 10, 0, 0, 0, 0]);
        assert_eq!(counts(&ledger.csv("t", run, &[("x", "1"), ("y", "2")]).await), [2, 0, 0, 2, 0, 0, 0, 0]);
    }
    ledger.database.assert_sound().await;
}

fn rates(skus: &[(&str, &str)]) -> Vec<(String, String)> {
    skus.iter().map(|(sku, amount)| ((*sku).to_owned(), (*amount).to_owned())).collect()
}

#[tokio::test]
async fn an_aws_price_is_one_price_whichever_list_shows_it() {
    let ledger = Ledger::new().await;
    let ours = format!(
        "# observed_at: {}\n# scope: ours\nprovider,service,region,sku_id,sku_price_id,unit,currency,amount\n\
         aws,AmazonEC2,eu-west-3,SKU1,SKU1.JRTCKXETXF.6YS6EN2CT7,Hrs,USD,0.0472\n",
        day(0).to_rfc3339()
    );
    let first = ledger.read_text(Format::Csv, &ours).await.expect("is recorded");
    assert_eq!(counts(&first), [1, 1, 0, 0, 0, 0, 0, 0]);
    let theirs = aws(day(1), &rates(&[("SKU1", "0.0472000000"), ("SKU2", "0.1")]));
    let second = ledger.read_text(Format::AwsBulk, &theirs).await.expect("is recorded");
    assert_eq!((&second.source[..], &second.scope[..]), ("aws-bulk", "AmazonEC2/eu-west-3"));
    assert_eq!(counts(&second), [2, 1, 0, 1, 0, 0, 0, 0]);
    let moved = aws(
        day(2),
        &rates(&[("SKU1", "0.05"), ("SKU2", "0.1"), ("SKU3", "1"), ("SKU4", "1"), ("SKU5", "1")]),
    );
    let third = ledger.read_text(Format::AwsBulk, &moved).await.expect("is recorded");
    assert!(third.quarantined, "one of two compared prices changed");
    ledger.release(third.refresh_id).await.expect("releases");
    ledger
        .assert_official(&[("SKU1", "0.05"), ("SKU2", "0.1"), ("SKU3", "1"), ("SKU4", "1"), ("SKU5", "1")])
        .await;
}

#[tokio::test]
async fn an_older_list_of_another_scope_changes_no_price() {
    let ledger = Ledger::new().await;
    ledger.csv("new", 10, &TEN).await;
    let older: Vec<(&str, &str)> = ten_but(&[("a", "0.5")]);
    assert_eq!(counts(&ledger.csv("old", 5, &older).await), [10, 0, 0, 10, 0, 0, 0, 0]);
    ledger.assert_official(&TEN).await;
}

#[tokio::test]
async fn an_older_list_does_not_overrule_what_another_scope_saw_later() {
    let ledger = Ledger::new().await;
    // The official prices are those of day 1, and were seen again on day 10.
    ledger.csv("new", 1, &TEN).await;
    ledger.csv("new", 10, &TEN).await;
    ledger.csv("old", 2, &TEN).await;
    assert_eq!(counts(&ledger.csv("old", 3, &ten_but(&[("a", "0.5")])).await), [10, 0, 0, 10, 0, 0, 0, 0]);
    let without = ten_but(&[("b", "")]);
    for run in 4..=6 {
        assert_eq!(counts(&ledger.csv("old", run, &without).await), [9, 0, 0, 9, 0, 1, 0, 0]);
    }
    ledger.assert_official(&TEN).await;
    // On day 11 it is the old list that knows best.
    assert_eq!(counts(&ledger.csv("old", 11, &without).await), [9, 0, 0, 9, 0, 1, 1, 0]);
}

#[tokio::test]
async fn an_older_list_of_another_scope_does_not_bring_back_what_was_withdrawn_later() {
    let ledger = Ledger::new().await;
    ledger.csv("new", 1, &TEN).await;
    for run in 10..=12 {
        ledger.csv("new", run, &ten_but(&[("a", "")])).await;
    }
    let mut withdrawn = TEN;
    withdrawn[0].0 = "-a";
    ledger.assert_official(&withdrawn).await;
    assert_eq!(counts(&ledger.csv("old", 5, &TEN).await), [10, 0, 0, 10, 0, 0, 0, 0]);
    ledger.assert_official(&withdrawn).await;
    // A newer one does.
    assert_eq!(ledger.csv("old", 13, &TEN).await.counts.relisted, 1);
    ledger.assert_official(&TEN).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn simultaneous_refreshes_of_a_scope_are_one_after_the_other() {
    let ledger = Ledger::new().await;
    ledger.csv("s", 0, &TEN).await;
    let head = ledger.head().await;
    let (left, right) = (ten_but(&[("a", "1.1")]), ten_but(&[("a", "1.2"), ("b", "2.2")]));
    let (one, other) = tokio::join!(ledger.try_csv("s", 1, &left), ledger.try_csv("s", 1, &right));
    let (won, lost) = if one.is_ok() { (one, other) } else { (other, one) };
    let won = won.expect("one of them is recorded");
    let lost = lost.expect_err("the other is not newer");
    assert!(matches!(lost, RefreshError::Refused(_)), "{lost:?}");
    let events = ledger.events_after(head).await;
    assert_eq!(events.iter().filter(|event| *event == "refresh.started").count(), 1, "{events:?}");
    let expected = if won.counts.changed == 1 { left } else { right };
    ledger.assert_official(&expected).await;
}

#[tokio::test]
async fn a_refresh_does_not_wait_long_for_another_of_its_scope() {
    let ledger = Ledger::new().await;
    let mut other = ledger.database.owner().await;
    sqlx::query("select pg_advisory_lock(hashtextextended('mercuriale scope csv s', 0))")
        .execute(&mut other)
        .await
        .expect("locks");
    let error = ledger.try_csv("s", 0, &TEN).await.expect_err("is refused");
    assert!(matches!(error, RefreshError::Refused(_)), "{error:?}");
    assert_eq!(error.to_string(), "another refresh of csv s is under way; try again later");
    assert_eq!(ledger.head().await, 0);
    assert_eq!(ledger.csv("t", 0, &TEN).await.counts.listed, 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn simultaneous_refreshes_of_two_scopes_list_a_price_once() {
    let ledger = Ledger::new().await;
    let reports =
        futures_util::future::join_all(["s", "t", "u", "v"].map(|scope| ledger.csv(scope, 0, &TEN))).await;
    assert_eq!(reports.iter().map(|report| report.counts.listed).sum::<u64>(), 10);
    assert_eq!(reports.iter().map(|report| report.counts.unchanged).sum::<u64>(), 30);
    ledger.assert_official(&TEN).await;
}

#[tokio::test]
async fn the_next_run_closes_one_that_was_cut_off() {
    let ledger = Ledger::new().await;
    ledger.csv("s", 0, &TEN).await;
    let cut_off = Uuid::now_v7();
    let started =
        RefreshStarted { v: 1, source: "csv", origin: &[], scope: Some("s"), observed_at: Some(day(1)) };
    let event =
        mercuriale::domain::event::NewEvent::new(refresh_stream(cut_off), "refresh.started", &started);
    ledger.database.append(vec![event]).await.expect("appends");
    let head = ledger.head().await;
    ledger.csv("s", 1, &TEN).await;
    assert_eq!(
        ledger.events_after(head).await,
        ["refresh.failed", "refresh.started", "prices.observed", "refresh.completed"]
    );
    let row = refresh_get(&ledger.database.pool, cut_off).await.expect("reads").expect("is there");
    assert_eq!((&row.state[..], row.reason.as_deref()), ("failed", Some("the run was interrupted")));
    ledger.database.assert_sound().await;
}

#[tokio::test]
async fn a_list_that_contradicts_itself_fails_as_a_whole() {
    let ledger = Ledger::new().await;
    for (run, expected) in [(0, vec![]), (1, TEN.to_vec())] {
        if run > 0 {
            ledger.csv("s", 0, &TEN).await;
        }
        let head = ledger.head().await;
        let mut list = TEN.to_vec();
        list.extend([("b", "2.00"), ("a", "1.5"), ("new", "1")]);
        let error = ledger.try_csv("s", run + 1, &list).await.expect_err("two amounts");
        let message = error.to_string();
        assert!(message.contains("test/compute/here/a/0/USD"), "{message}");
        assert!(message.contains("says both 1 and 1.5"), "{message}");
        assert_eq!(ledger.events_after(head).await, ["refresh.started", "refresh.failed"]);
        ledger.assert_official(&expected).await;
    }
    // A failed list does not stand in the way of a better one of the same time.
    ledger.csv("s", 2, &TEN).await;
}

#[tokio::test]
async fn a_product_that_a_list_has_twice_is_named() {
    let ledger = Ledger::new().await;
    let list = aws(day(0), &rates(&[("SKU1", "1")]));
    let (head, tail) = list.split_once("\"SKU1\":").expect("a product");
    let product = &tail[..tail.find("}}").expect("its end")];
    let twice = format!("{head}\"SKU1\":{product}}},\"SKU1\":{tail}");
    let error = ledger.read_text(Format::AwsBulk, &twice).await.expect_err("twice");
    assert!(matches!(error, RefreshError::Contradiction(_)), "{error:?}");
    assert!(error.to_string().contains("(SKU1) is duplicated"), "{error}");
    assert_eq!(ledger.events_after(0).await, ["refresh.started", "refresh.failed"]);
    ledger.assert_official(&[]).await;
}

#[tokio::test]
async fn of_two_azure_versions_the_one_in_force_counts() {
    let ledger = Ledger::new().await;
    let versions = [
        azure_item("m", "2", 20, None),
        azure_item("m", "1", 0, Some(20)),
        azure_item("over", "9", 0, Some(5)),
        azure_item("stays", "3.4e-05", 0, None),
    ];
    for (on, amount, expected) in [
        (10, "1", [2, 2, 0, 0, 0, 0, 0, 0]),
        (19, "1", [2, 0, 0, 2, 0, 0, 0, 0]),
        (20, "2", [2, 0, 1, 1, 0, 0, 0, 0]),
        (21, "2", [2, 0, 0, 2, 0, 0, 0, 0]),
    ] {
        let files = vec![ledger.write(&azure_page(&versions, None))];
        let report = ledger
            .read(mercuriale::sources::ListInput {
                format: Format::AzureRetail,
                files,
                scope: Some("vm".into()),
                observed_at: Some(day(on)),
                partial: false,
            })
            .await
            .expect("is recorded");
        assert_eq!(counts(&report), expected, "day {on}");
        if report.quarantined {
            ledger.release(report.refresh_id).await.expect("releases");
        }
        let prices: Vec<(String, Decimal)> =
            sqlx::query_as("select sku_price_id, amount from current_prices.prices order by 1")
                .fetch_all(&ledger.database.pool)
                .await
                .expect("reads");
        assert_eq!(prices, [("m".to_owned(), decimal(amount)), ("stays".to_owned(), decimal("0.000034"))]);
    }
    ledger.database.assert_sound().await;
}
