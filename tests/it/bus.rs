//! The relay to NATS: every event once and in order, whatever is killed meanwhile.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::jetstream;
use futures_util::StreamExt as _;
use mercuriale::bus::{EVENT_SUBJECTS, INVALIDATED_SUBJECT, Invalidated, Relay, STREAM};
use mercuriale::domain::event::NewEvent;
use mercuriale::ledger;
use uuid::Uuid;

use crate::servers::Nats;
use crate::support::{Database, listed, moved};

async fn relay(database: &Database, nats: &Nats) -> tokio::task::JoinHandle<()> {
    let ledger_id = ledger::id(&database.pool).await.expect("reads");
    tokio::spawn(Relay::new(database.pool.clone(), nats.client().await, ledger_id).run())
}

/// Waits for the stream to hold an event of this position.
async fn relayed(nats: &Nats, position: i64) {
    let context = jetstream::new(nats.client().await);
    tokio::time::timeout(Duration::from_mins(1), async {
        loop {
            if let Ok(stream) = context.get_stream(STREAM).await
                && let Ok(info) = stream.get_info().await
                && let Ok(last) = stream.get_raw_message(info.state.last_sequence).await
                && last.headers.get("ce-sequence").and_then(|text| text.as_str().parse::<i64>().ok())
                    >= Some(position)
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("relayed in time");
}

/// What a durable consumer gets: position and event id of each message, in the order of arrival.
async fn consumed(nats: &Nats, count: usize) -> Vec<(i64, String, String)> {
    let context = jetstream::new(nats.client().await);
    let stream = context.get_stream(STREAM).await.expect("the stream");
    let consumer = stream
        .get_or_create_consumer(
            "test",
            jetstream::consumer::pull::Config { durable_name: Some("test".into()), ..Default::default() },
        )
        .await
        .expect("a consumer");
    let mut messages = consumer.messages().await.expect("messages");
    let mut got = Vec::new();
    while got.len() < count {
        let message = tokio::time::timeout(Duration::from_mins(2), messages.next())
            .await
            .expect("in time")
            .expect("a message")
            .expect("a message");
        let headers = message.headers.as_ref().expect("headers");
        let header = |name: &str| headers.get(name).expect("a header").as_str().to_owned();
        got.push((
            header("ce-sequence").parse().expect("a position"),
            header("ce-id"),
            message.subject.to_string(),
        ));
        message.ack().await.expect("acknowledges");
    }
    got
}

async fn assert_whole(database: &Database, nats: &Nats) {
    let filter = ledger::EventFilter::default();
    let events = ledger::read(&database.pool, 0, &filter, 1_000_000).await.expect("reads");
    let got = consumed(nats, events.len()).await;
    for (event, (position, id, _)) in events.iter().zip(&got) {
        assert_eq!((event.position, event.event_id.to_string()), (*position, id.clone()));
    }
    let context = jetstream::new(nats.client().await);
    let stream = context.get_stream(STREAM).await.expect("the stream");
    let state = stream.get_info().await.expect("info").state;
    assert_eq!(state.messages, events.len() as u64, "an event is in the stream twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn relay_and_nats_are_killed_and_a_consumer_gets_every_event_once_in_order() {
    let database = Database::new().await;
    let mut nats = Nats::start().await;
    let mut id = 0;
    for round in 0..20_u64 {
        let relay = relay(&database, &nats).await;
        for _ in 0..30 {
            let batch: Vec<NewEvent> = (0..10)
                .map(|_| {
                    id += 1;
                    listed(id, "1")
                })
                .collect();
            database.append(batch).await.expect("appends");
        }
        if round % 5 == 4 {
            nats.restart().await;
        }
        // Somewhere between publishing and saving the cursor.
        tokio::time::sleep(Duration::from_millis(round * 7 % 40)).await;
        relay.abort();
    }
    let relay = relay(&database, &nats).await;
    relayed(&nats, id).await;
    assert_whole(&database, &nats).await;
    relay.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_relay_takes_over_and_a_lost_stream_is_filled_again() {
    let database = Database::new().await;
    let nats = Nats::start().await;
    let first = relay(&database, &nats).await;
    database.append((1..=10).map(|id| listed(id, "1")).collect()).await.expect("appends");
    relayed(&nats, 10).await;
    let second = relay(&database, &nats).await;
    first.abort();
    database.append((11..=20).map(|id| listed(id, "1")).collect()).await.expect("appends");
    relayed(&nats, 20).await;
    assert_whole(&database, &nats).await;

    second.abort();
    let context = jetstream::new(nats.client().await);
    context.delete_stream(STREAM).await.expect("deletes");
    let third = relay(&database, &nats).await;
    relayed(&nats, 20).await;
    assert_whole(&database, &nats).await;
    third.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_another_ledger_is_left_alone() {
    let (one, other) = (Database::new().await, Database::new().await);
    let nats = Nats::start().await;
    let relay = relay(&one, &nats).await;
    one.append(vec![listed(1, "1")]).await.expect("appends");
    relayed(&nats, 1).await;
    relay.abort();
    other.append((1..=5).map(|id| listed(id, "1")).collect()).await.expect("appends");
    let stranger = tokio::spawn(Relay::new(other.pool.clone(), nats.client().await, Uuid::new_v4()).run());
    tokio::time::sleep(Duration::from_secs(2)).await;
    stranger.abort();
    assert_whole(&one, &nats).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notices_name_the_places_that_a_refresh_moved_and_subjects_the_place_of_a_price() {
    let database = Database::new().await;
    let nats = Nats::start().await;
    let client = nats.client().await;
    let mut notices = client.subscribe(INVALIDATED_SUBJECT).await.expect("subscribes");
    client.flush().await.expect("flushes");
    let relay = relay(&database, &nats).await;
    let end = |id: u128| {
        let data = serde_json::json!({
            "v": 1, "source": "test", "scope": "s", "observed_at": "2026-01-01T00:00:00Z", "complete": true,
            "content_sha256": "00", "observed": 1, "listed": 1, "changed": 0, "unchanged": 0, "within_threshold": 0,
            "not_observed": 0, "withdrawn": 0, "relisted": 0, "not_observed_ids": "{}",
        });
        NewEvent::new(format!("refresh/{}", Uuid::from_u128(id)), "refresh.completed", &data)
    };
    database.append(vec![listed(1, "1"), listed(2, "1"), end(1)]).await.expect("appends");
    database.append(vec![moved(2, "price.changed", Some("2")), end(2)]).await.expect("appends");
    let mut told = BTreeMap::new();
    while told.len() < 2 {
        let notice = tokio::time::timeout(Duration::from_mins(2), notices.next()).await.expect("in time");
        let notice: Invalidated =
            serde_json::from_slice(&notice.expect("a notice").payload).expect("a notice");
        told.insert(notice.position, notice.places);
    }
    assert_eq!(told[&3], ["test/compute/region-1", "test/compute/region-2"]);
    assert_eq!(told[&5], ["test/compute/region-2"]);
    relayed(&nats, 5).await;
    let subjects: Vec<String> = consumed(&nats, 5).await.into_iter().map(|(.., subject)| subject).collect();
    assert_eq!(subjects[0], "mercuriale.event.price.listed.test.compute.region-1");
    assert_eq!(subjects[2], "mercuriale.event.refresh.completed");
    assert_eq!(subjects[3], "mercuriale.event.price.changed.test.compute.region-2");
    assert!(subjects.iter().all(|subject| subject.starts_with(EVENT_SUBJECTS.trim_end_matches('>'))));
    relay.abort();
}
