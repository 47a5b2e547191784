//! The log: order, conflicts, idempotency, append-only, verification.

use std::collections::HashSet;
use std::time::Duration;

use mercuriale::domain::event::NewEvent;
use mercuriale::ledger::verify::{VerifyError, verify};
use mercuriale::ledger::{
    self, Append, AppendError, BulkAppend, EventFilter, Idempotency, Origin, Outcome, Tail,
};
use sqlx::{AssertSqlSafe, Executor as _};
use uuid::Uuid;

use crate::support::{Database, listed, moved};

fn note(stream: &str, text: &str) -> NewEvent {
    NewEvent::new(stream.to_owned(), "test.noted", &serde_json::json!({"v": 1, "text": text}))
}

#[tokio::test]
async fn events_get_positions_and_versions_and_are_read_back_as_written() {
    let database = Database::new().await;
    let appended = database
        .append(vec![note("note/a", "one"), note("note/b", "zwei ✓"), note("note/a", "\t\"three\"")])
        .await
        .expect("appends");
    let places: Vec<_> = appended.iter().map(|event| (event.position, event.stream_version)).collect();
    assert_eq!(places, [(1, 1), (2, 1), (3, 2)]);
    let read = ledger::read(&database.pool, 1, &EventFilter::default(), 10).await.expect("reads");
    assert_eq!(read.len(), 2);
    assert_eq!(read[0].data, "{\"text\":\"zwei ✓\",\"v\":1}");
    assert_eq!(read[0].recorded_at, appended[1].recorded_at);
    assert!(read.iter().all(ledger::Event::hash_holds));
    let filter = EventFilter { stream: Some("note/a".into()), ..EventFilter::default() };
    let of_stream = ledger::read(&database.pool, 0, &filter, 10).await.expect("reads");
    assert_eq!(of_stream.iter().map(|event| event.position).collect::<Vec<_>>(), [1, 3]);
    database.assert_sound().await;
}

#[tokio::test]
async fn a_conflict_in_one_request_fails_that_request_alone() {
    let database = Database::new().await;
    database.append(vec![note("note/a", "one")]).await.expect("appends");
    let wrong = database.append(vec![note("note/b", "x"), note("note/a", "y").expecting(0)]);
    let right =
        database.append(vec![note("note/a", "two").expecting(1), note("note/a", "three").expecting(2)]);
    let (wrong, right) = tokio::join!(wrong, right);
    assert!(
        matches!(&wrong, Err(AppendError::Conflict { stream, expected: 0, .. }) if stream == "note/a"),
        "{wrong:?}"
    );
    right.expect("appends");
    assert_eq!(ledger::head(&database.pool).await.expect("reads"), 3);
    assert!(matches!(database.append(vec![]).await, Err(AppendError::Invalid(_))));
}

fn idempotent(key: &str, request: u8) -> Append {
    Append {
        origin: Origin::shared("test", Uuid::now_v7()),
        events: vec![note(&format!("note/{}", Uuid::now_v7()), "x")],
        idempotency: Some(Idempotency {
            key: key.to_owned(),
            request_sha256: [request; 32],
            respond: Box::new(|appended| format!("position {}", appended[0].position)),
        }),
    }
}

#[tokio::test]
async fn a_request_with_a_key_is_carried_out_once() {
    let database = Database::new().await;
    let twins = (0..50).map(|_| database.appender.append(idempotent("k", 1)));
    let mut appended = 0;
    for outcome in futures_util::future::join_all(twins).await {
        match outcome.expect("answers") {
            Outcome::Appended(_, response) => {
                assert_eq!(response.as_deref(), Some("position 1"));
                appended += 1;
            }
            Outcome::Replayed(response) => assert_eq!(response, "position 1"),
        }
    }
    assert_eq!(appended, 1);
    assert!(matches!(database.appender.append(idempotent("k", 2)).await, Err(AppendError::KeyReused(_))));
    assert!(matches!(database.appender.append(idempotent("k", 1)).await, Ok(Outcome::Replayed(_))));
    assert_eq!(ledger::head(&database.pool).await.expect("reads"), 1);
}

#[tokio::test]
async fn nobody_changes_the_log_not_even_its_owner() {
    let database = Database::new().await;
    database.append(vec![note("note/a", "one")]).await.expect("appends");
    let mut owner = database.owner().await;
    for statement in [
        "update events set actor = 'x'",
        "delete from events",
        "truncate events",
        "set session_replication_role = replica; delete from events",
        "delete from observation_segments",
        "truncate ledger_head",
    ] {
        let error = owner.execute(AssertSqlSafe(statement)).await.expect_err(statement);
        assert!(error.to_string().contains("append-only"), "{statement}: {error}");
    }
    for statement in [
        "update events set actor = 'x'",
        "delete from events",
        "truncate events",
        "alter table events disable trigger events_append_only",
        "drop table events",
        "delete from idempotency_keys",
        "create table public.x (y int)",
    ] {
        let error = database.pool.execute(AssertSqlSafe(statement)).await.expect_err(statement);
        let code = error.as_database_error().and_then(|error| error.code().map(std::borrow::Cow::into_owned));
        assert_eq!(code.as_deref(), Some("42501"), "{statement}: {error}");
    }
    verify(&database.pool).await.expect("the ledger is sound");
}

#[tokio::test]
async fn the_database_refuses_a_gap() {
    let database = Database::new().await;
    let error = sqlx::query("select ledger_advance(0, 5, now(), '{}')").execute(&database.pool).await;
    assert!(error.expect_err("a gap").to_string().contains("do not fill the positions"));
}

#[tokio::test]
async fn one_changed_byte_or_a_missing_event_fails_verification() {
    type Expected = fn(&VerifyError) -> bool;
    let forgeries: [(&str, Expected); 4] = [
        ("update events set data = '{\"v\":1 }' where position = 2", |e| matches!(e, VerifyError::Edited(2))),
        ("update events set actor = 'somebody' where position = 3", |e| matches!(e, VerifyError::Edited(3))),
        ("delete from events where position = 2", |e| {
            matches!(e, VerifyError::Gap { expected: 2, found: 3 })
        }),
        ("delete from events where position = 3", |e| matches!(e, VerifyError::Short { found: 2, head: 3 })),
    ];
    for (forgery, expected) in forgeries {
        let database = Database::new().await;
        database
            .append(vec![note("note/a", "1"), note("note/b", "2"), note("note/c", "3")])
            .await
            .expect("appends");
        verify(&database.pool).await.expect("sound");
        // Somebody with the rights of a superuser takes the guard away first.
        let mut owner = database.owner().await;
        owner.execute("alter table events disable trigger events_append_only").await.expect("disables");
        owner.execute(AssertSqlSafe(forgery)).await.expect("forges");
        let error = verify(&database.pool).await.expect_err(forgery);
        assert!(expected(&error), "{forgery}: {error}");
    }
}

#[tokio::test]
async fn a_bulk_append_is_all_or_nothing_and_joins_the_same_order() {
    let database = Database::new().await;
    database.append(vec![listed(1, "1")]).await.expect("appends");
    let mut connection = database.pool.acquire().await.expect("connects").detach();
    let origin = Origin::shared("test", Uuid::now_v7());

    let mut bulk = BulkAppend::begin(&mut connection, origin.clone()).await.expect("begins");
    bulk.append((2..=3000).map(|id| listed(id, "1")).collect()).await.expect("appends");
    drop(bulk);
    assert_eq!(ledger::head(&database.pool).await.expect("reads"), 1);

    let mut bulk = BulkAppend::begin(&mut connection, origin).await.expect("begins");
    bulk.append((2..=3000).map(|id| listed(id, "1.5")).collect()).await.expect("appends");
    bulk.append(vec![moved(1, "price.changed", Some("2")), moved(1, "price.changed", Some("3"))])
        .await
        .expect("appends");
    bulk.append(vec![moved(1, "price.withdrawn", None)]).await.expect("appends");
    assert_eq!(bulk.commit().await.expect("commits"), 3003);
    let price: (String, bool, i64) = sqlx::query_as(
        "select amount::text, in_force, position from current_prices.prices where price_id = 1",
    )
    .fetch_one(&database.pool)
    .await
    .expect("reads");
    assert_eq!(price, ("3".to_owned(), false, 3002));
    database.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_writers_and_a_tailing_reader_skip_nothing() {
    const WRITERS: usize = 8;
    const EVENTS: usize = 100_000;
    let database = Database::new().await;
    // Two appenders, as two processes would have.
    let other = ledger::Appender::spawn(database.pool.clone());
    let mut tail = Tail::new(database.pool.clone(), 0, 1_000).await.expect("tails");
    let reading = tokio::spawn(async move {
        let (mut next, mut seen, mut last) = (1, HashSet::new(), std::collections::HashMap::new());
        while seen.len() < EVENTS {
            let events = tokio::time::timeout(Duration::from_mins(1), tail.next()).await.expect("in time");
            for event in events.expect("reads") {
                assert_eq!(event.position, next, "a gap, a skip or a reorder");
                next += 1;
                assert!(seen.insert(event.event_id), "{} came twice", event.event_id);
                let version = last.entry(event.stream.clone()).or_insert(0);
                assert_eq!(event.stream_version, *version + 1, "{}", event.stream);
                *version += 1;
            }
        }
        next - 1
    });
    let writers = (0..WRITERS).map(|writer| {
        let appender = if writer % 2 == 0 { database.appender.clone() } else { other.clone() };
        tokio::spawn(async move {
            let mut left = EVENTS / WRITERS;
            let mut size = 1;
            while left > 0 {
                let events =
                    (0..size.min(left)).map(|n| note(&format!("note/{}", (writer + n) % 5), "x")).collect();
                let append =
                    Append { origin: Origin::shared("test", Uuid::now_v7()), events, idempotency: None };
                appender.append(append).await.expect("appends");
                left -= size.min(left);
                size = size % 50 + 1;
            }
        })
    });
    for writer in futures_util::future::join_all(writers).await {
        writer.expect("writes");
    }
    assert_eq!(reading.await.expect("reads"), i64::try_from(EVENTS).expect("a number"));
    verify(&database.pool).await.expect("sound");
}
