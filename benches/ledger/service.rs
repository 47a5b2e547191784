//! The service on a port of its own.

use std::time::Duration;

use axum::Router;
use mercuriale::access::{Authority, JwtSettings, Principal, Role, TokenSecret};
use mercuriale::bus::Hub;
use mercuriale::http::{self, Http, Patience, RateLimits, router};
use mercuriale::pricing::Pricing;
use mercuriale::sources::live::{Limits, Live, OnDemand};
use mercuriale::webhooks::{Reach, Webhooks};
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::refresh::refresher;

/// Where it listens, and what lets one in.
pub(crate) struct Service {
    pub(crate) address: String,
    pub(crate) token: String,
}

impl Service {
    pub(crate) async fn start(pool: PgPool, pricing: Pricing) -> anyhow::Result<Self> {
        let secret = TokenSecret::configured("only for the time of this benchmark")?;
        let authority = Authority::open(&secret, JwtSettings::default()).await.map_err(anyhow::Error::msg)?;
        let principal = Principal::new("bench", "bench", Role::Viewer)?;
        let (token, _) = authority.issue(&principal, Duration::from_hours(1));
        let refresher = refresher(pool.clone());
        let app = router(Http {
            pricing,
            on_demand: OnDemand::new(Live::new(refresher.clone(), Limits::default())?, Vec::new()),
            refresher,
            hub: Hub::spawn(pool.clone()),
            webhooks: Webhooks::new(pool.clone(), Reach::Public),
            pool,
            authority,
            limits: RateLimits::off(),
            cors_origins: Vec::new(),
            stopping: CancellationToken::new(),
        });
        Ok(Self { address: serve(app).await?, token })
    }
}

/// Serves until the benchmark ends; returns the address.
pub(crate) async fn serve(app: Router) -> anyhow::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    tokio::spawn(http::serve(listener, app, Patience::default(), std::future::pending()));
    Ok(address)
}
