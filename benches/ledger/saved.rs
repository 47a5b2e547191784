//! Saving a 10-line estimate beside only calculating it, and a version of 10,000 lines as CSV beside reading it as JSON.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use mercuriale::access::{Principal, Role};
use mercuriale::cache::MemoryCache;
use mercuriale::domain::estimate::{Labels, save_request_parse};
use mercuriale::domain::saved::export::{self, Locale};
use mercuriale::ledger::Appender;
use mercuriale::pricing::{Pricing, Save};
use uuid::Uuid;

use crate::estimates::request;
use crate::made_up;
use crate::server::Server;
use crate::table::{Table, median};

const CALLERS: usize = 64;
const LINES: i64 = 10;
const LONG: i64 = 10_000;
const PRICES: i64 = 10_000;
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(3);
const TENANT: &str = "bench";

pub(crate) async fn measure(server: &Server, table: &mut Table) -> anyhow::Result<()> {
    let pool = server.ledger("saved").await?;
    made_up::list(&pool, 1..=PRICES).await?;
    let bench = Bench {
        pricing: Pricing::new(pool.clone(), vec![Arc::new(MemoryCache::new(20_000))]),
        appender: Appender::spawn(pool),
        body: request(LINES).into(),
    };
    let mut rates = Vec::new();
    for _ in 0..ROUNDS {
        rates.push((bench.load(true).await?, bench.load(false).await?));
    }
    let (saved, calculated) =
        (median(rates.iter().map(|rate| rate.0)), median(rates.iter().map(|rate| rate.1)));
    let ratio = median(rates.iter().map(|(saved, calculated)| saved / calculated));
    table.note(
        &format!("{LINES}-line estimates saved, {CALLERS} callers"),
        format!("{saved:.0}/s"),
        format!("only calculating: {calculated:.0}/s"),
        &format!("{ratio:.2}"),
    );
    bench.export(table).await
}

#[derive(Clone)]
struct Bench {
    pricing: Pricing,
    appender: Appender,
    body: Arc<[u8]>,
}

impl Bench {
    async fn save(&self, body: &[u8]) -> anyhow::Result<Uuid> {
        let (request, labels) = save_request_parse(body, true)?;
        let caller = Principal::new(TENANT, "bench", Role::Analyst)?;
        let save = Save { appender: &self.appender, caller: &caller, key: None };
        let saved = self.pricing.estimate_create(save, &request, labels, chrono::Utc::now()).await?;
        saved.json()?;
        Ok(saved.estimate_id)
    }

    async fn calculate(&self, body: &[u8]) -> anyhow::Result<()> {
        let (request, _): (_, Labels) = save_request_parse(body, true)?;
        let estimate = self.pricing.estimate_calculate(&request, chrono::Utc::now()).await?;
        serde_json::to_vec(&estimate)?;
        Ok(())
    }

    /// Requests a second, of callers that ask again as soon as they are answered.
    async fn load(&self, is_saved: bool) -> anyhow::Result<f64> {
        let answers = Arc::new(AtomicU64::new(0));
        let began = Instant::now();
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| {
                let (bench, answers) = (self.clone(), Arc::clone(&answers));
                tokio::spawn(async move {
                    while began.elapsed() < ROUND {
                        if is_saved {
                            bench.save(&bench.body).await?;
                        } else {
                            bench.calculate(&bench.body).await?;
                        }
                        answers.fetch_add(1, Ordering::Relaxed);
                    }
                    anyhow::Ok(())
                })
            })
            .collect();
        for caller in callers {
            caller.await??;
        }
        Ok(answers.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64())
    }

    async fn export(&self, table: &mut Table) -> anyhow::Result<()> {
        let estimate_id = self.save(&request(LONG)).await?;
        let read = async || {
            let saved = self.pricing.estimate_version(TENANT, estimate_id, None).await?;
            saved.context("the version that was saved")
        };
        let mut seconds = Vec::new();
        for _ in 0..ROUNDS {
            let began = Instant::now();
            let csv = export::lines(&read().await?.read()?, Locale::default())?;
            let exported = began.elapsed().as_secs_f64();
            anyhow::ensure!(csv.len() > usize::try_from(LONG)?, "the export is empty");
            let began = Instant::now();
            read().await?.json()?;
            seconds.push((exported, began.elapsed().as_secs_f64()));
        }
        let (exported, read) =
            (median(seconds.iter().map(|pair| pair.0)), median(seconds.iter().map(|pair| pair.1)));
        let ratio = median(seconds.iter().map(|(exported, read)| exported / read));
        table.note(
            &format!("CSV of a version of {LONG} lines"),
            format!("{exported:.3} s"),
            format!("only reading it as JSON: {read:.3} s"),
            &format!("{ratio:.2}"),
        );
        Ok(())
    }
}
