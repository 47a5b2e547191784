//! A 10-line estimate over HTTP, validated against the ledger's position, beside a route that only decodes the same
//! request and encodes the same answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use axum::body::Bytes;
use axum::routing::post;
use axum::{Json, Router};
use mercuriale::cache::{MemoryCache, PriceCache, RedisCache};
use mercuriale::domain::estimate::request_parse;
use mercuriale::ledger::{self, BulkAppend, Origin};
use mercuriale::pricing::Pricing;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use uuid::Uuid;

use crate::made_up;
use crate::server::Server;
use crate::service::{Service, serve};
use crate::table::{Goal, Table, median};

const CONNECTIONS: usize = 64;
const LINES: i64 = 10;
const PRICES: i64 = 10_000;
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(3);

pub(crate) async fn measure(server: &Server, table: &mut Table) -> anyhow::Result<()> {
    let pool = server.ledger("estimates").await?;
    let mut connection = pool.acquire().await?.detach();
    let mut bulk = BulkAppend::begin(&mut connection, Origin::shared("bench", Uuid::now_v7())).await?;
    bulk.append((1..=PRICES).map(made_up::listed).collect()).await?;
    bulk.commit().await?;

    let body = request(LINES);
    let parsed = request_parse(&body)?;
    let mut levels: Vec<(&str, Vec<Arc<dyn PriceCache>>)> =
        vec![("memory", vec![Arc::new(MemoryCache::new(1_000))])];
    if let Ok(url) = std::env::var("MERCURIALE_TEST_REDIS_URL") {
        let redis = RedisCache::new(
            &url,
            ledger::id(&pool).await?,
            Duration::from_mins(10),
            Duration::from_millis(100),
        )?;
        levels.push(("memory and Redis", vec![Arc::new(MemoryCache::new(1_000)), Arc::new(redis)]));
    }
    for (name, caches) in levels {
        let pricing = Pricing::new(pool.clone(), caches);
        let answer = pricing.estimate_calculate(&parsed, chrono::Utc::now()).await?;
        let only_coding = Router::new().route(
            "/v1/estimates/calculate",
            post(move |body: Bytes| {
                let answer = request_parse(&body).map(|_| answer.clone());
                async move { answer.map(Json).map_err(|invalid| invalid.to_string()) }
            }),
        );
        let limit = serve(only_coding).await?;
        let Service { address: measured, token } = Service::start(pool.clone(), pricing).await?;
        let mut rates = Vec::new();
        for _ in 0..ROUNDS {
            rates.push((load(&measured, &token, &body).await?, load(&limit, &token, &body).await?));
        }
        let (measured, limit) =
            (median(rates.iter().map(|rate| rate.0)), median(rates.iter().map(|rate| rate.1)));
        table.push(
            &format!("{LINES}-line estimates over HTTP, {CONNECTIONS} connections, {name}"),
            format!("{measured:.0}/s"),
            format!("only decoding and encoding: {limit:.0}/s"),
            median(rates.iter().map(|(measured, limit)| measured / limit)),
            Goal::AtLeast(0.4),
        );
    }
    Ok(())
}

/// A request of so many lines, each for another of the first prices.
pub(crate) fn request(lines: i64) -> Vec<u8> {
    let lines: Vec<_> = (1..=lines)
        .map(|line| {
            serde_json::json!({
                "label": format!("line {line}"), "provider": "aws", "service": "AmazonEC2", "region": "eu-west-3",
                "resource": made_up::sku((line * 7 - 1) % PRICES + 1), "attributes": {}, "quantity": "3", "pricing_model": "reserved-1y",
            })
        })
        .collect();
    serde_json::to_vec(&serde_json::json!({ "name": "bench", "lines": lines })).expect("JSON")
}

/// Answers a second, over connections that ask again as soon as they are answered.
async fn load(address: &str, token: &str, body: &[u8]) -> anyhow::Result<f64> {
    let mut request = format!(
        "POST /v1/estimates/calculate HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
         authorization: Bearer {token}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    let request: Arc<[u8]> = request.into();
    let answers = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let (address, request, answers) =
                (address.to_owned(), Arc::clone(&request), Arc::clone(&answers));
            tokio::spawn(async move {
                let mut stream = TcpStream::connect(&address).await?;
                stream.set_nodelay(true)?;
                let mut buffer = Vec::with_capacity(16 << 10);
                while began.elapsed() < ROUND {
                    stream.write_all(&request).await?;
                    answer(&mut stream, &mut buffer).await?;
                    answers.fetch_add(1, Ordering::Relaxed);
                }
                anyhow::Ok(())
            })
        })
        .collect();
    for client in clients {
        client.await??;
    }
    Ok(answers.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64())
}

/// Reads one answer, which has to be a success.
async fn answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> anyhow::Result<()> {
    buffer.clear();
    loop {
        anyhow::ensure!(stream.read_buf(buffer).await? > 0, "the connection was closed");
        let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = std::str::from_utf8(&buffer[..end])?;
        anyhow::ensure!(head.starts_with("HTTP/1.1 200"), "{head}");
        let length = head
            .lines()
            .find_map(|line| {
                line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok()
            })
            .context("no content-length")?;
        let whole = end + 4 + length;
        while buffer.len() < whole {
            anyhow::ensure!(stream.read_buf(buffer).await? > 0, "the connection was closed");
        }
        return Ok(());
    }
}
