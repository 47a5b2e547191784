//! The shared cache: exact, shared, and never in the way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use chrono::Utc;
use futures_util::future::BoxFuture;
use mercuriale::bus::{Relay, notices};
use mercuriale::cache::{CachedRate, MemoryCache, PriceCache, RateKey, RedisCache};
use mercuriale::domain::arithmetic::{Estimate, ServedFrom};
use mercuriale::domain::estimate::{EstimateRequest, request_parse};
use mercuriale::ledger;
use mercuriale::pricing::Pricing;
use rust_decimal::Decimal;
use sqlx::Connection as _;
use uuid::Uuid;

use crate::servers::{Nats, Redis};
use crate::support::{Database, listed, moved};

const TTL: Duration = Duration::from_hours(1);
/// For tests in which Redis has to answer, however busy the machine is.
const PATIENCE: Duration = Duration::from_mins(1);

/// A process's way to answer: a memory of its own, and the shared cache.
fn replica(database: &Database, url: &str, ledger_id: Uuid) -> Pricing {
    let redis = RedisCache::new(url, ledger_id, TTL, PATIENCE).expect("a URL");
    let caches: Vec<Arc<dyn PriceCache>> = vec![Arc::new(MemoryCache::new(1_000)), Arc::new(redis)];
    Pricing::new(database.pool.clone(), caches)
}

fn request(price_ids: &[i64]) -> EstimateRequest {
    let lines: Vec<_> = price_ids
        .iter()
        .map(|id| {
            serde_json::json!({
                "label": "x", "provider": "test", "service": "compute", "region": format!("region-{}", id % 3),
                "resource": format!("sku-{id}"), "quantity": "1",
            })
        })
        .collect();
    request_parse(&serde_json::to_vec(&serde_json::json!({ "lines": lines })).expect("JSON"))
        .expect("a request")
}

async fn ask(pricing: &Pricing, request: &EstimateRequest) -> Estimate {
    pricing.estimate_calculate(request, Utc::now()).await.expect("an answer")
}

fn sources(estimate: &Estimate) -> Vec<ServedFrom> {
    estimate.lines.iter().map(|line| line.price.served_from).collect()
}

fn prices(estimate: &Estimate) -> Vec<String> {
    estimate.lines.iter().map(|line| line.price.list_unit_price.to_string()).collect()
}

fn test_redis() -> String {
    std::env::var("MERCURIALE_TEST_REDIS_URL").expect(
        "MERCURIALE_TEST_REDIS_URL is not set: run `make test`, which starts the servers that tests need",
    )
}

/// Counts how often rates were looked up and kept.
#[derive(Debug)]
struct Counting {
    cache: MemoryCache,
    looked_up: AtomicU64,
    kept: AtomicU64,
}

impl PriceCache for Counting {
    fn get<'a>(&'a self, keys: &'a [RateKey]) -> BoxFuture<'a, Vec<Option<CachedRate>>> {
        self.looked_up.fetch_add(1, Ordering::Relaxed);
        self.cache.get(keys)
    }

    fn put<'a>(&'a self, entries: &'a [(RateKey, CachedRate)]) -> BoxFuture<'a, ()> {
        self.kept.fetch_add(entries.len() as u64, Ordering::Relaxed);
        self.cache.put(entries)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_who_miss_a_rate_at_once_share_the_read_of_it() {
    const REQUESTS: u64 = 200;
    let database = Database::new().await;
    database.append((1..=9).map(|id| listed(id, "1")).collect()).await.expect("appends");
    let cache = Arc::new(Counting {
        cache: MemoryCache::new(100),
        looked_up: AtomicU64::new(0),
        kept: AtomicU64::new(0),
    });
    let pricing = Pricing::new(database.pool.clone(), vec![cache.clone()]);
    // The model that lines are looked up in is there, and then it cannot be read for a while.
    ask(&pricing, &request(&[9])).await;
    let mut owner = database.owner().await;
    let mut transaction = owner.begin().await.expect("begins");
    sqlx::raw_sql("lock table price_search.prices in access exclusive mode")
        .execute(&mut *transaction)
        .await
        .expect("locks");
    let waiting: Vec<_> = (0..REQUESTS)
        .map(|number| {
            let pricing = pricing.clone();
            // One of them cannot be answered, which is nobody else's business.
            let request = request(if number == 7 { &[1, 2, 77] } else { &[1, 2, 3] });
            tokio::spawn(async move { pricing.estimate_calculate(&request, Utc::now()).await })
        })
        .collect();
    while cache.looked_up.load(Ordering::Relaxed) < 1 + REQUESTS {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    transaction.rollback().await.expect("ends");
    for (number, answer) in waiting.into_iter().enumerate() {
        match answer.await.expect("ends") {
            Ok(answer) => assert_eq!(prices(&answer), ["1", "1", "1"]),
            Err(error) => assert!(number == 7 && error.to_string().contains("sku-77"), "{error}"),
        }
    }
    // Three rates a read, and one read before.
    let reads = (cache.kept.load(Ordering::Relaxed) - 1) / 3;
    assert!(reads < REQUESTS / 4, "{reads} reads");
}

#[tokio::test]
async fn replicas_share_rates_and_a_move_empties_its_place_alone() {
    let database = Database::new().await;
    database.append((1..=6).map(|id| listed(id, "1")).collect()).await.expect("appends");
    let ledger_id = Uuid::new_v4();
    let one = replica(&database, &test_redis(), ledger_id);
    let other = replica(&database, &test_redis(), ledger_id);
    let request = request(&[1, 2, 3]);
    assert_eq!(sources(&ask(&one, &request).await), [ServedFrom::Postgres; 3]);
    assert_eq!(sources(&ask(&one, &request).await), [ServedFrom::Memory; 3]);
    let shared = ask(&other, &request).await;
    assert_eq!(sources(&shared), [ServedFrom::Redis; 3]);
    assert_eq!(prices(&shared), ["1", "1", "1"]);
    assert_eq!(sources(&ask(&other, &request).await), [ServedFrom::Memory; 3]);

    // Price 5 is in the place of price 2.
    database.append(vec![moved(2, "price.changed", Some("7"))]).await.expect("appends");
    let after = ask(&other, &request).await;
    assert_eq!(sources(&after), [ServedFrom::Memory, ServedFrom::Postgres, ServedFrom::Memory]);
    assert_eq!(prices(&after), ["1", "7", "1"]);
    assert_eq!(
        sources(&ask(&one, &request).await),
        [ServedFrom::Memory, ServedFrom::Redis, ServedFrom::Memory]
    );

    // Another ledger that shares the Redis sees nothing of it.
    let stranger = replica(&database, &test_redis(), Uuid::new_v4());
    assert_eq!(sources(&ask(&stranger, &request).await), [ServedFrom::Postgres; 3]);
}

#[tokio::test]
async fn entries_that_cannot_be_read_are_misses() {
    let database = Database::new().await;
    database.append(vec![listed(1, "1")]).await.expect("appends");
    let redis = Redis::start(None).await;
    let ledger_id = ledger::id(&database.pool).await.expect("reads");
    let request = request(&[1]);
    ask(&replica(&database, &redis.url(), ledger_id), &request).await;
    let client = redis::Client::open(redis.url()).expect("a URL");
    let mut connection = client.get_multiplexed_async_connection().await.expect("connects");
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query_async(&mut connection).await.expect("lists");
    assert_eq!(keys.len(), 1);
    for garbage in ["", "{}", "{\"read_at\":1,\"selection\":null}", "\u{0}"] {
        redis::cmd("SET").arg(&keys[0]).arg(garbage).query_async::<()>(&mut connection).await.expect("sets");
        let answer = ask(&replica(&database, &redis.url(), ledger_id), &request).await;
        assert_eq!(sources(&answer), [ServedFrom::Postgres], "{garbage:?}");
    }
    // The wrong kind of value, then nothing at all.
    redis::cmd("DEL").arg(&keys[0]).query_async::<()>(&mut connection).await.expect("deletes");
    redis::cmd("LPUSH").arg(&keys[0]).arg(1).query_async::<()>(&mut connection).await.expect("pushes");
    let answer = ask(&replica(&database, &redis.url(), ledger_id), &request).await;
    assert_eq!(sources(&answer), [ServedFrom::Postgres]);
    redis::cmd("FLUSHALL").query_async::<()>(&mut connection).await.expect("flushes");
    let answer = ask(&replica(&database, &redis.url(), ledger_id), &request).await;
    assert_eq!(sources(&answer), [ServedFrom::Postgres]);
    // A full Redis refuses to write, and everything goes on.
    redis::cmd("CONFIG")
        .arg("SET")
        .arg("maxmemory")
        .arg("1")
        .query_async::<()>(&mut connection)
        .await
        .expect("sets");
    redis::cmd("FLUSHALL").query_async::<()>(&mut connection).await.expect("flushes");
    for _ in 0..5 {
        let answer = ask(&replica(&database, &redis.url(), ledger_id), &request).await;
        assert_eq!(sources(&answer), [ServedFrom::Postgres]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_killed_and_restarted_under_load_and_no_request_fails() {
    mercuriale::telemetry::metrics();
    let database = Database::new().await;
    database.append((1..=9).map(|id| listed(id, "1")).collect()).await.expect("appends");
    let mut redis = Redis::start(None).await;
    let ledger_id = ledger::id(&database.pool).await.expect("reads");
    let url = redis.url();
    let stop = Arc::new(AtomicBool::new(false));
    let answers = Arc::new(AtomicU64::new(0));
    let from_redis = Arc::new(AtomicU64::new(0));
    let load: Vec<_> = (0..4)
        .map(|_| {
            let (pool, url, stop) = (database.pool.clone(), url.clone(), Arc::clone(&stop));
            let (answers, from_redis) = (Arc::clone(&answers), Arc::clone(&from_redis));
            tokio::spawn(async move {
                let request = request(&[1, 2, 3]);
                let shared: Arc<dyn PriceCache> = Arc::new(
                    RedisCache::new(&url, ledger_id, TTL, Duration::from_millis(100)).expect("a URL"),
                );
                while !stop.load(Ordering::Relaxed) {
                    // No memory: every answer asks Redis, or would.
                    let pricing =
                        Pricing::new(pool.clone(), vec![Arc::new(MemoryCache::new(1)), Arc::clone(&shared)]);
                    for _ in 0..20 {
                        let answer = ask(&pricing, &request).await;
                        assert_eq!(prices(&answer), ["1", "1", "1"]);
                        answers.fetch_add(1, Ordering::Relaxed);
                        let shared = sources(&answer).contains(&ServedFrom::Redis);
                        from_redis.fetch_add(u64::from(shared), Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    let until = |counter: &Arc<AtomicU64>, more: u64| {
        let counter = Arc::clone(counter);
        let goal = counter.load(Ordering::Relaxed) + more;
        async move {
            tokio::time::timeout(Duration::from_mins(1), async {
                while counter.load(Ordering::Relaxed) < goal {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            })
            .await
            .expect("in time");
        }
    };
    until(&from_redis, 50).await;
    redis.kill();
    until(&answers, 500).await;
    // A gauge of the whole process: other tests' caches may add to it, and none takes from it what it has not added.
    let text = mercuriale::telemetry::metrics();
    let open = text.lines().find_map(|line| line.strip_prefix("mercuriale_redis_breaker_open "));
    assert!(open.is_some_and(|open| open != "0"), "{text}");
    let redis = Redis::start(Some(redis.port)).await;
    until(&from_redis, 50).await;
    stop.store(true, Ordering::Relaxed);
    for task in load {
        task.await.expect("no request failed");
    }
    let text = mercuriale::telemetry::metrics();
    assert!(text.contains("mercuriale_redis_failures_total"), "{text}");
    drop(redis);
}

/// One replica changes prices as fast as it can, others answer with warm caches; every answer is what the ledger says at
/// the position it claims, and claims no position older than the last commit before it was asked. Meanwhile the shared
/// cache is lost, and so is the NATS that tells the replicas what to forget.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_is_stale() {
    const ANSWERS: u64 = 100_000;
    const CLIENTS: u64 = 16;
    let database = Database::new().await;
    database.append((1..=30).map(|id| listed(id, "1")).collect()).await.expect("appends");
    let mut redis = Redis::start(None).await;
    let ledger_id = ledger::id(&database.pool).await.expect("reads");
    let committed = Arc::new(AtomicU64::new(30));
    let stop = Arc::new(AtomicBool::new(false));
    let writing = {
        let (writer, committed, stop) =
            (database.appender.clone(), Arc::clone(&committed), Arc::clone(&stop));
        tokio::spawn(async move {
            let mut cents = 100_i64;
            while !stop.load(Ordering::Relaxed) {
                cents += 1;
                let price_id = cents % 30 + 1;
                let event = moved(price_id, "price.changed", Some(&Decimal::new(cents, 2).to_string()));
                let origin = ledger::Origin::shared("test", Uuid::now_v7());
                let append = ledger::Append { origin, events: vec![event], idempotency: None };
                match writer.append(append).await.expect("appends") {
                    ledger::Outcome::Appended(appended, _) => {
                        committed.store(appended[0].position.unsigned_abs(), Ordering::Release);
                    }
                    ledger::Outcome::Replayed(_) => unreachable!("no key"),
                }
            }
        })
    };
    let mut nats = Nats::start().await;
    let relay = Relay::new(database.pool.clone(), nats.client().await, ledger_id);
    let mut bus = tokio::task::JoinSet::new();
    bus.spawn(relay.run());
    let mut replicas = Vec::new();
    for _ in 0..2 {
        let memory = Arc::new(MemoryCache::new(1_000));
        let redis = RedisCache::new(&redis.url(), ledger_id, TTL, Duration::from_millis(100)).expect("a URL");
        replicas.push(Pricing::new(database.pool.clone(), vec![memory.clone(), Arc::new(redis)]));
        bus.spawn(notices(nats.client().await, move |places| memory.forget(places)));
    }
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let pricing = replicas[usize::try_from(client % 2).expect("small")].clone();
            let committed = Arc::clone(&committed);
            tokio::spawn(async move {
                let mut seen = Vec::new();
                for round in 0..ANSWERS / CLIENTS {
                    let id = i64::try_from((client * 7 + round) % 30 + 1).expect("small");
                    let before = committed.load(Ordering::Acquire);
                    let answer = ask(&pricing, &request(&[id, 30 - id + 1])).await;
                    assert!(answer.position.unsigned_abs() >= before, "{} < {before}", answer.position);
                    for line in answer.lines {
                        seen.push((line.price.price_id, answer.position, line.price.list_unit_price));
                    }
                }
                seen
            })
        })
        .collect();
    // The shared cache goes and comes back empty; NATS goes and stays away.
    tokio::time::sleep(Duration::from_secs(2)).await;
    redis.kill();
    let redis = Redis::start(Some(redis.port)).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    nats.kill();
    let mut seen = Vec::new();
    for client in clients {
        seen.extend(client.await.expect("no request failed"));
    }
    stop.store(true, Ordering::Relaxed);
    writing.await.expect("writes");
    drop(redis);

    let history: Vec<(i64, i64, Decimal)> = sqlx::query_as(
        "select price_id, position, amount from price_history.price_events order by price_id, position",
    )
    .fetch_all(&database.pool)
    .await
    .expect("reads");
    for (price_id, position, amount) in seen {
        let last = history.partition_point(|(id, at, _)| (*id, *at) <= (price_id, position)) - 1;
        assert_eq!(history[last].0, price_id);
        assert_eq!(history[last].2, amount, "price {price_id} at position {position}");
    }
}
