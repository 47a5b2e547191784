//! The parts of the program, put together.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use sqlx::PgPool;
use tokio::task::JoinSet;

use crate::bus::{Relay, notices};
use crate::cache::{MemoryCache, PriceCache, RedisCache, RedisError};
use crate::config::Config;
use crate::embedded::{EmbeddedError, EmbeddedPostgres};
use crate::ledger::{self, Appender, ConnectError};
use crate::pricing::Pricing;
use crate::projections::{Engine, ProjectionError};
use crate::sources::refresh::{RefreshError, Refresher};
use crate::sources::{ListEnd, Overrides, csv_list};

/// Prices to start with, one file a list, oldest first.
const STARTER_LISTS: [(&str, &str); 7] = [
    ("starter/amazonec2-eu-west-3.csv", include_str!("../starter/amazonec2-eu-west-3.csv")),
    ("starter/amazondynamodb-eu-west-3.csv", include_str!("../starter/amazondynamodb-eu-west-3.csv")),
    ("starter/amazonapigateway-eu-west-3.csv", include_str!("../starter/amazonapigateway-eu-west-3.csv")),
    ("starter/amazons3-eu-west-3.csv", include_str!("../starter/amazons3-eu-west-3.csv")),
    ("starter/amazonecs-eu-west-3.csv", include_str!("../starter/amazonecs-eu-west-3.csv")),
    ("starter/awslambda-eu-west-3.csv", include_str!("../starter/awslambda-eu-west-3.csv")),
    (
        "starter/virtual-machines-francecentral.csv",
        include_str!("../starter/virtual-machines-francecentral.csv"),
    ),
];
/// Source of the starter lists.
const STARTER: &str = "starter";

/// Why the program cannot start or stop in order.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The private PostgreSQL.
    #[error(transparent)]
    Embedded(#[from] EmbeddedError),
    /// The database.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The read models.
    #[error(transparent)]
    Projection(#[from] ProjectionError),
    /// The bus's URL.
    #[error("NATS_URL cannot be used: {0}")]
    Nats(String),
    /// The shared cache's URL.
    #[error(transparent)]
    Redis(#[from] RedisError),
    /// The starter lists.
    #[error("the starter list {0}: {1}")]
    Starter(&'static str, RefreshError),
    /// The database failed.
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
}

/// A connected program.
#[derive(Debug)]
pub struct App {
    /// Connections to the ledger.
    pub pool: PgPool,
    /// The read models.
    pub engine: Engine,
    /// Records refreshes.
    pub refresher: Refresher,
    /// Answers questions.
    pub pricing: Pricing,
    memory: Arc<MemoryCache>,
    nats_url: Option<String>,
    embedded: Option<EmbeddedPostgres>,
}

impl App {
    /// Starts or joins the private PostgreSQL unless there is another, brings schema and read models up to date.
    ///
    /// # Errors
    /// There is no usable database.
    pub async fn open(config: &Config) -> Result<Self, AppError> {
        // Collection starts before there is anything to count.
        crate::telemetry::metrics();
        let embedded = match &config.database_url {
            Some(_) => None,
            None => Some(EmbeddedPostgres::start_or_join(&config.data_dir).await?),
        };
        match Self::connect(config, embedded.as_ref()).await {
            Ok((pool, engine, memory, caches)) => {
                let appender = Appender::spawn(pool.clone());
                Ok(Self {
                    refresher: Refresher {
                        pool: pool.clone(),
                        appender,
                        rules: config.rules(),
                        actor: Arc::from("operator"),
                    },
                    pricing: Pricing::new(pool.clone(), caches),
                    pool,
                    engine,
                    memory,
                    nats_url: config.nats_url.clone(),
                    embedded,
                })
            }
            Err(error) => {
                if let Some(embedded) = embedded {
                    embedded.leave().await?;
                }
                Err(error)
            }
        }
    }

    async fn connect(
        config: &Config,
        embedded: Option<&EmbeddedPostgres>,
    ) -> Result<(PgPool, Engine, Arc<MemoryCache>, Vec<Arc<dyn PriceCache>>), AppError> {
        let url = match (&config.database_url, embedded) {
            (Some(url), _) => url,
            (None, Some(embedded)) => embedded.url(),
            (None, None) => unreachable!("without a URL, the private server was started"),
        };
        ledger::migrate(url).await?;
        let pool = ledger::connect(url, config.database_connections).await?;
        let engine = Engine::new(pool.clone());
        engine.ensure().await?;
        let memory = Arc::new(MemoryCache::new(config.cached_rates));
        let mut caches: Vec<Arc<dyn PriceCache>> = vec![memory.clone()];
        if let Some(url) = &config.redis_url {
            let ledger_id = ledger::id(&pool).await?;
            caches.push(Arc::new(RedisCache::new(url, ledger_id, config.cache_ttl, config.redis_timeout)?));
        }
        Ok((pool, engine, memory, caches))
    }

    /// Whether the program has a PostgreSQL of its own.
    pub fn is_embedded(&self) -> bool {
        self.embedded.is_some()
    }

    /// Loads the starter lists into a ledger that has nothing yet; returns how many prices were listed.
    ///
    /// # Errors
    /// A list could not be recorded.
    pub async fn load_starter_lists(&self) -> Result<u64, AppError> {
        if ledger::head(&self.pool).await? > 0 {
            return Ok(0);
        }
        let refresher = Refresher { actor: Arc::from(STARTER), ..self.refresher.clone() };
        let mut listed = 0;
        for (name, text) in STARTER_LISTS {
            let report = refresher
                .refresh(STARTER, vec![name.to_owned()], move |sink| {
                    csv_list::read(text.as_bytes(), name, &Overrides::default(), sink)?;
                    Ok(ListEnd { complete: true, content_sha256: Sha256::digest(text).into() })
                })
                .await
                .map_err(|error| AppError::Starter(name, error))?;
            listed += report.counts.listed;
        }
        self.engine.catch_up("price_search", i64::MAX).await?;
        Ok(listed)
    }

    /// Starts the relay to NATS, and forgets what its notices name; nothing without a NATS. It need not be up yet.
    ///
    /// # Errors
    /// The URL is none of NATS, or the database failed.
    pub async fn spawn_bus(&self) -> Result<JoinSet<()>, AppError> {
        let mut tasks = JoinSet::new();
        let Some(url) = &self.nats_url else { return Ok(tasks) };
        let options = async_nats::ConnectOptions::new().name("mercuriale").retry_on_initial_connect();
        let client = options.connect(url).await.map_err(|error| AppError::Nats(error.to_string()))?;
        let ledger_id = ledger::id(&self.pool).await?;
        tasks.spawn(Relay::new(self.pool.clone(), client.clone(), ledger_id).run());
        let memory = Arc::clone(&self.memory);
        tasks.spawn(notices(client, move |places| memory.forget(places)));
        Ok(tasks)
    }

    /// Closes the connections, and the private PostgreSQL if nobody else uses it.
    ///
    /// # Errors
    /// The private PostgreSQL did not stop.
    pub async fn close(self) -> Result<(), AppError> {
        self.pool.close().await;
        if let Some(embedded) = self.embedded {
            embedded.leave().await?;
        }
        Ok(())
    }
}
