//! Read models: any batching gives the same tables, rebuilds replace them while they serve.

use mercuriale::domain::event::NewEvent;
use mercuriale::projections::{Engine, definitions};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sqlx::{AssertSqlSafe, Executor as _};
use uuid::Uuid;

use crate::support::{Database, listed, moved};

/// A history that could have happened: prices are listed, then move, are withdrawn and come back.
fn history() -> impl Strategy<Value = Vec<(i64, u8, u32)>> {
    proptest::collection::vec((1..12_i64, 0..4_u8, 1..1_000_u32), 1..60)
}

fn events(history: &[(i64, u8, u32)]) -> Vec<NewEvent> {
    let mut in_force = std::collections::HashMap::new();
    let mut events: Vec<NewEvent> = history
        .iter()
        .map(|&(id, kind, cents)| {
            let amount = format!("{}.{:02}", cents / 100, cents % 100);
            match (in_force.get(&id).copied(), kind) {
                (None, _) => {
                    in_force.insert(id, true);
                    listed(id, &amount)
                }
                (Some(true), 0) => {
                    in_force.insert(id, false);
                    moved(id, "price.withdrawn", None)
                }
                (Some(true), _) => moved(id, "price.changed", Some(&amount)),
                (Some(false), _) => {
                    in_force.insert(id, true);
                    moved(id, "price.relisted", Some(&amount))
                }
            }
        })
        .collect();
    let refresh = |id: u128| format!("refresh/{}", Uuid::from_u128(id));
    let json = |value: serde_json::Value| value;
    for id in 1..=3 {
        events.push(NewEvent::new(refresh(id), "refresh.started", &json(serde_json::json!({
            "v": 1, "source": "test", "origin": ["a", "b"], "scope": "s", "observed_at": "2026-01-01T00:00:00Z"
        }))));
    }
    let outcome = json(serde_json::json!({
        "v": 1, "scope": "s", "observed_at": "2026-01-01T00:00:00Z", "complete": true, "content_sha256": "00",
        "observed": 1, "listed": 1, "changed": 0, "unchanged": 0, "within_threshold": 0, "not_observed": 2,
        "withdrawn": 0, "relisted": 0, "not_observed_ids": "{[3,5)}", "unlisted_segments": ["ab"]
    }));
    events.push(NewEvent::new(
        refresh(1),
        "prices.observed",
        &json(serde_json::json!({
            "v": 1, "segment": "abcd", "first_price_id": 1, "last_price_id": 9, "count": 4
        })),
    ));
    events.push(NewEvent::new(refresh(1), "refresh.completed", &outcome));
    events.push(NewEvent::new(refresh(2), "refresh.quarantined", &outcome));
    events.push(NewEvent::new(
        refresh(3),
        "refresh.failed",
        &json(serde_json::json!({"v": 1, "reason": "no"})),
    ));
    events.push(NewEvent::new(refresh(2), "refresh.released", &outcome));
    for rate in ["0.1", "0.2"] {
        events.push(NewEvent::new(
            "policy/discount".into(),
            "discount_policy.set",
            &json(serde_json::json!({
                "v": 1, "rates": {"spot": rate}
            })),
        ));
    }
    events
}

#[test]
fn every_way_of_cutting_the_log_gives_the_same_tables() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut runner = TestRunner::new(Config { cases: 24, failure_persistence: None, ..Config::default() });
    runner
        .run(&(history(), proptest::collection::vec(1..9_i64, 1..40)), |(history, cuts)| {
            runtime.block_on(async {
                // Each case has a log of its own: the tables are filled as a follower would, batch by batch.
                let database = Database::new().await;
                database.append(events(&history)).await.expect("appends");
                let head = mercuriale::ledger::head(&database.pool).await.expect("reads");
                for definition in definitions() {
                    // One batch was applied inline (or not yet, by a follower); now the same log in many.
                    let name = definition.name;
                    let tables: Vec<String> = sqlx::query_scalar(
                        "select table_name::text from information_schema.tables where table_schema = $1",
                    )
                    .bind(name)
                    .fetch_all(&database.pool)
                    .await
                    .expect("reads");
                    for table in &tables {
                        let sql = format!("truncate {name}.{table}");
                        database.pool.execute(AssertSqlSafe(sql)).await.expect("empties");
                    }
                    let mut from = 0;
                    for cut in cuts.iter().copied().cycle() {
                        let to = head.min(from + cut);
                        database
                            .pool
                            .execute(AssertSqlSafe(format!("select {name}.apply({from}, {to})")))
                            .await
                            .expect("applies");
                        from = to;
                        if from == head {
                            break;
                        }
                    }
                    sqlx::query(
                        "update projections set position = $2 where name = $1 and mode = 'following'",
                    )
                    .bind(name)
                    .bind(head)
                    .execute(&database.pool)
                    .await
                    .expect("notes");
                }
                database.assert_projected().await;
                database.pool.close().await;
            });
            Ok(())
        })
        .expect("holds");
}

#[tokio::test]
async fn a_changed_file_leads_to_a_rebuild_and_a_wrong_row_is_found() {
    let database = Database::new().await;
    database.append((1..=50).map(|id| listed(id, "1")).collect()).await.expect("appends");
    let engine = Engine::new(database.pool.clone());
    assert_eq!(engine.ensure().await.expect("runs"), Vec::<&str>::new());

    database
        .pool
        .execute("update current_prices.prices set amount = 7 where price_id = 9")
        .await
        .expect("damages");
    let difference = engine.check("current_prices").await.expect("runs").expect("a difference");
    assert_eq!(difference.table, "current_prices.prices");
    assert!(difference.row.contains("(9,test/9,"), "{}", difference.row);

    sqlx::query("update projections set sql_sha256 = '\\x00' where name = 'current_prices'")
        .execute(&database.pool)
        .await
        .expect("pretends");
    assert_eq!(engine.ensure().await.expect("runs"), ["current_prices"]);
    engine.catch_up("price_search", 50).await.expect("catches up");
    database.assert_sound().await;
    let error = engine.rebuild("nonsense").await.expect_err("unknown").to_string();
    assert!(error.contains("current_prices"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_and_writes_go_on_during_a_rebuild() {
    let database = Database::new().await;
    database.append((1..=3_000).map(|id| listed(id, "1")).collect()).await.expect("appends");
    let engine = Engine::new(database.pool.clone());
    let stop = tokio_util::sync::CancellationToken::new();
    let reading = {
        let (pool, stop) = (database.pool.clone(), stop.clone());
        tokio::spawn(async move {
            let mut reads = 0;
            while !stop.is_cancelled() {
                let count: i64 =
                    sqlx::query_scalar("select count(*) from current_prices.prices where price_id <= 3000")
                        .fetch_one(&pool)
                        .await
                        .expect("reads go on");
                assert_eq!(count, 3_000);
                reads += 1;
            }
            reads
        })
    };
    let writing = {
        let (appender, stop) = (database.appender.clone(), stop.clone());
        tokio::spawn(async move {
            let mut id = 3_000;
            while !stop.is_cancelled() {
                id += 1;
                let append = mercuriale::ledger::Append {
                    origin: mercuriale::ledger::Origin::shared("test", Uuid::now_v7()),
                    events: vec![listed(id, "1"), moved(id, "price.changed", Some("2"))],
                    idempotency: None,
                };
                appender.append(append).await.expect("writes go on");
            }
            id
        })
    };
    for _ in 0..5 {
        engine.rebuild("current_prices").await.expect("rebuilds");
        engine.rebuild("price_history").await.expect("rebuilds");
    }
    stop.cancel();
    assert!(reading.await.expect("reads") > 0);
    assert!(writing.await.expect("writes") > 3_000);
    engine.catch_up("price_search", i64::MAX).await.expect("catches up");
    database.assert_sound().await;
}

#[tokio::test]
async fn a_follower_catches_up_by_itself() {
    let database = Database::new().await;
    let follower = tokio::spawn(Engine::new(database.pool.clone()).follow());
    database.append((1..=20).map(|id| listed(id, "1")).collect()).await.expect("appends");
    tokio::time::timeout(std::time::Duration::from_mins(2), async {
        while sqlx::query_scalar::<_, i64>("select count(*) from price_search.prices")
            .fetch_one(&database.pool)
            .await
            .expect("reads")
            < 20
        {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("follows in time");
    follower.abort();
    database.assert_sound().await;
}
