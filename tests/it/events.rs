//! The log over HTTP: pages, and server-sent events.

use std::time::Duration;

use futures_util::StreamExt as _;
use mercuriale::domain::event::NewEvent;
use reqwest::Method;
use serde_json::{Value, json};

use crate::service::Service;
use crate::support::{listed, moved};

/// A listener: position, type and data of each event.
struct Listener {
    body: futures_util::stream::BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    buffer: String,
}

impl Listener {
    async fn open(service: &Service, query: &str, last_id: Option<i64>) -> Self {
        let mut request = service.client.get(format!("{}/v1/events/stream{query}", service.url));
        if let Some(id) = last_id {
            request = request.header("last-event-id", id);
        }
        let response = request.send().await.expect("answers");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { body: response.bytes_stream().boxed(), buffer: String::new() }
    }

    /// The next event; `None` when the stream ended.
    async fn next(&mut self) -> Option<(i64, String, Value)> {
        loop {
            if let Some(end) = self.buffer.find("\n\n") {
                let block: String = self.buffer.drain(..end + 2).collect();
                let field = |name: &str| {
                    block
                        .lines()
                        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": ").map(str::to_owned))
                };
                if let (Some(id), Some(event), Some(data)) = (field("id"), field("event"), field("data")) {
                    let data = serde_json::from_str(&data).expect("JSON");
                    return Some((id.parse().expect("a position"), event, data));
                }
                continue;
            }
            let bytes =
                tokio::time::timeout(Duration::from_mins(2), self.body.next()).await.expect("in time")?;
            self.buffer.push_str(std::str::from_utf8(&bytes.ok()?).expect("UTF-8"));
        }
    }
}

#[tokio::test]
async fn pages_hold_the_log_with_its_data_as_recorded() {
    let service = Service::new().await;
    service.database.append((1..=5).map(|id| listed(id, "1")).collect()).await.expect("appends");
    service.database.append(vec![moved(3, "price.changed", Some("2"))]).await.expect("appends");
    let get = |path: &str| {
        let request = service.client.get(format!("{}{path}", service.url));
        async move {
            let response = request.send().await.expect("answers");
            let link = response.headers().get("link").map(|link| link.to_str().expect("text").to_owned());
            (link, response.json::<Value>().await.expect("JSON"))
        }
    };
    let (link, page) = get("/v1/events?limit=4").await;
    assert_eq!(link.as_deref(), Some("</v1/events?limit=4&after=4>; rel=\"next\""));
    assert_eq!(page["items"][0]["data"]["price_id"], 1);
    let (link, page) = get("/v1/events?limit=4&after=4").await;
    assert_eq!(link, None);
    assert_eq!(page["items"].as_array().expect("items").len(), 2);
    let (_, page) = get("/v1/events?type=price.changed,price.withdrawn").await;
    assert_eq!(page["items"][0]["position"], 6);
    let (_, page) = get("/v1/events?stream=price/3").await;
    assert_eq!(page["items"].as_array().expect("items").len(), 2);
    let (_, problem) = get("/v1/events?typo=1").await;
    assert_eq!(problem["type"], "urn:mercuriale:problem:invalid-request");
}

/// An event as large as a saved estimate of thousands of lines, of letters that compress badly.
fn large(seed: u64) -> NewEvent {
    let mut state = seed;
    let text: String = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'!' + u8::try_from(state >> 58).expect("6 bits"))
    })
    .take(1 << 20)
    .map(|letter| if letter == '"' || letter == '\\' { '.' } else { letter })
    .collect();
    NewEvent::new(format!("test/{seed}"), "test.large", &json!({"v": 1, "text": text}))
}

#[tokio::test]
async fn large_events_make_short_pages_and_are_heard_whole() {
    const EVENTS: u64 = 7;
    let service = Service::new().await;
    let mut live = Listener::open(&service, "", None).await;
    for seed in 0..EVENTS {
        service.database.append(vec![large(seed)]).await.expect("appends");
    }
    let (mut path, mut read, mut pages) = (Some("/v1/events".to_owned()), Vec::new(), 0);
    while let Some(page) = path.take() {
        let response = service.request(Method::GET, &page).await;
        let link = response.headers().get("link").map(|link| link.to_str().expect("text").to_owned());
        path = link.and_then(|link| Some(link.strip_prefix('<')?.split_once('>')?.0.to_owned()));
        let page: Value = response.json().await.expect("JSON");
        read.extend(page["items"].as_array().expect("items").clone());
        pages += 1;
    }
    assert!(pages > 1, "{pages} pages");
    assert_eq!(read.len(), 7);
    let mut late = Listener::open(&service, "?after=0", None).await;
    for event in &read {
        for listener in [&mut live, &mut late] {
            let (position, _, heard) = listener.next().await.expect("an event");
            assert!(event["position"] == position && heard == *event, "position {position}");
        }
    }
}

#[tokio::test]
async fn a_listener_gets_what_it_asked_for() {
    let service = Service::new().await;
    service.database.append((1..=6).map(|id| listed(id, "1")).collect()).await.expect("appends");
    let mut one = Listener::open(&service, "?price_id=2&after=0", None).await;
    let mut place = Listener::open(&service, "?region=region-0&type=price.changed", None).await;
    assert_eq!(one.next().await.expect("an event").0, 2);
    service
        .database
        .append(vec![
            moved(2, "price.changed", Some("2")),
            moved(3, "price.withdrawn", None),
            moved(6, "price.changed", Some("3")),
        ])
        .await
        .expect("appends");
    let (position, event, data) = one.next().await.expect("an event");
    assert_eq!((position, event.as_str(), &data["data"]["amount"]), (7, "price.changed", &"2".into()));
    assert_eq!(place.next().await.expect("an event").0, 9);

    let refused =
        service.client.get(format!("{}/v1/events/stream", service.url)).header("last-event-id", "x").send();
    assert_eq!(refused.await.expect("answers").status(), 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_reconnects_at_random_ends_with_the_whole_log() {
    const EVENTS: i64 = 3_000;
    let service = Service::new().await;
    let appender = service.database.appender.clone();
    let writing = tokio::spawn(async move {
        for id in 1..=EVENTS {
            let origin = mercuriale::ledger::Origin::shared("test", uuid::Uuid::now_v7());
            let append =
                mercuriale::ledger::Append { origin, events: vec![listed(id, "1")], idempotency: None };
            appender.append(append).await.expect("appends");
        }
    });
    let mut last = 0;
    let mut patience = 1;
    while last < EVENTS {
        let mut listener = Listener::open(&service, "", Some(last)).await;
        // Leaves after some events, an ever different number.
        patience = patience * 31 % 257 + 1;
        for _ in 0..patience {
            let (position, ..) = listener.next().await.expect("an event");
            assert_eq!(position, last + 1, "skipped or repeated");
            last = position;
            if last == EVENTS {
                break;
            }
        }
    }
    writing.await.expect("writes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_listeners_hear_everything() {
    const LISTENERS: usize = 1_000;
    const EVENTS: i64 = 20;
    let service = Service::new().await;
    let mut listeners = Vec::new();
    for _ in 0..LISTENERS {
        listeners.push(Listener::open(&service, "?after=0", None).await);
    }
    let hearing: Vec<_> = listeners
        .into_iter()
        .map(|mut listener| {
            tokio::spawn(async move {
                for expected in 1..=EVENTS {
                    assert_eq!(listener.next().await.expect("an event").0, expected);
                }
            })
        })
        .collect();
    for id in 1..=EVENTS {
        service.database.append(vec![listed(id, "1")]).await.expect("appends");
    }
    for listener in hearing {
        listener.await.expect("hears everything");
    }
}
