//! How soon subscribers hear of an event, beside how soon the one who appends it is told that it is durable.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use async_nats::jetstream;
use async_nats::jetstream::consumer::push::OrderedConfig;
use futures_util::StreamExt as _;
use mercuriale::bus::{Relay, STREAM};
use mercuriale::ledger::{self, Append, Appender, Origin};
use mercuriale::pricing::Pricing;
use sqlx::PgPool;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::made_up;
use crate::server::Server;
use crate::service::Service;
use crate::table::{Table, percentile};

const PRICES: i64 = 1_000;
const EVENTS: i64 = 2_000;
/// Between two events: subscribers keep up, so what is measured is the way and not a queue.
const PAUSE: Duration = Duration::from_millis(5);
const NATS: &str = "MERCURIALE_TEST_NATS_URL";
/// Nobody waits longer for the events of a run.
const PATIENCE: Duration = Duration::from_mins(2);

/// When each event arrived, in their order.
type Arrivals = JoinHandle<anyhow::Result<Vec<Instant>>>;

pub(crate) async fn measure(server: &Server, table: &mut Table) -> anyhow::Result<()> {
    let pool = server.ledger("latency").await?;
    made_up::list(&pool, 1..=PRICES).await?;
    let head = ledger::head(&pool).await?;
    let mut subscribers = vec![("SSE", subscribe(|ready| sse(pool.clone(), head, ready)).await?)];
    let mut relay = None;
    if let Ok(url) = std::env::var(NATS) {
        let client = async_nats::connect(url).await.context("no NATS")?;
        let ledger_id = ledger::id(&pool).await?;
        relay = Some(tokio::spawn(Relay::new(pool.clone(), client.clone(), ledger_id).run()));
        subscribers.push(("NATS", subscribe(|ready| nats(client, head, ready)).await?));
    } else {
        table.note("from append to NATS subscriber", String::new(), format!("not measured: set {NATS}"), "");
    }

    let appender = Appender::spawn(pool.clone());
    let (mut called, mut answered) = (Vec::new(), Vec::new());
    for turn in 0..EVENTS {
        called.push(Instant::now());
        let events = vec![made_up::changed(turn % PRICES + 1, turn)];
        let origin = Origin::shared("bench", Uuid::now_v7());
        appender.append(Append { origin, events, idempotency: None }).await?;
        answered.push(Instant::now());
        tokio::time::sleep(PAUSE).await;
    }
    let taken = |until: &[Instant]| -> Vec<f64> {
        called.iter().zip(until).map(|(called, until)| (*until - *called).as_secs_f64() * 1_000.0).collect()
    };
    let answered = taken(&answered);
    for (name, arrivals) in subscribers {
        let arrived = tokio::time::timeout(PATIENCE, arrivals).await.context("events got lost")???;
        let arrived = taken(&arrived);
        for part in [50, 99] {
            let (reached, own) = (percentile(&arrived, part), percentile(&answered, part));
            table.note(
                &format!("from append to {name} subscriber, p{part}"),
                format!("{reached:.2} ms"),
                format!("until the append is answered: {own:.2} ms"),
                &format!("{:.2}", reached / own),
            );
        }
    }
    if let Some(relay) = relay {
        relay.abort();
    }
    pool.close().await;
    Ok(())
}

/// Starts a subscriber and waits until it hears what comes.
async fn subscribe<F>(listen: impl FnOnce(oneshot::Sender<()>) -> F) -> anyhow::Result<Arrivals>
where
    F: Future<Output = anyhow::Result<Vec<Instant>>> + Send + 'static,
{
    let (ready, is_ready) = oneshot::channel();
    let arrivals = tokio::spawn(listen(ready));
    if is_ready.await.is_err() {
        arrivals.await??;
        anyhow::bail!("a subscriber ended at once");
    }
    Ok(arrivals)
}

/// What comes after `head`, as it comes.
async fn nats(
    client: async_nats::Client,
    head: i64,
    ready: oneshot::Sender<()>,
) -> anyhow::Result<Vec<Instant>> {
    let context = jetstream::new(client.clone());
    // The relay makes the stream and fills it with the prices.
    let stream = loop {
        match context.get_stream(STREAM).await {
            Ok(stream) => break stream,
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    let config = OrderedConfig { deliver_subject: client.new_inbox(), ..OrderedConfig::default() };
    let mut messages = stream.create_consumer(config).await?.messages().await?;
    let (mut ready, mut arrived) = (Some(ready), Vec::new());
    while arrived.len() < EVENTS.unsigned_abs().try_into()? {
        let message = messages.next().await.context("the stream ended")??;
        let headers = message.headers.as_ref().context("no headers")?;
        let position: i64 = headers.get("ce-sequence").context("no position")?.as_str().parse()?;
        if position > head {
            arrived.push(Instant::now());
        } else if position == head
            && let Some(ready) = ready.take()
        {
            let _ = ready.send(());
        }
    }
    Ok(arrived)
}

async fn sse(pool: PgPool, head: i64, ready: oneshot::Sender<()>) -> anyhow::Result<Vec<Instant>> {
    let Service { address, token } =
        Service::start(pool.clone(), Pricing::new(pool.clone(), Vec::new())).await?;
    let response = reqwest::Client::new()
        .get(format!("http://{address}/v1/events/stream"))
        .bearer_auth(token)
        .header("last-event-id", head.to_string())
        .send()
        .await?
        .error_for_status()?;
    let _ = ready.send(());
    let mut chunks = response.bytes_stream();
    let mut arrived = Vec::new();
    // Only whole events are sent, and each has one line that begins so.
    let events =
        |text: &[u8]| text.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"id:")).count();
    while arrived.len() < EVENTS.unsigned_abs().try_into()? {
        let chunk = chunks.next().await.context("the service ended")??;
        arrived.extend(std::iter::repeat_n(Instant::now(), events(&chunk)));
    }
    Ok(arrived)
}
