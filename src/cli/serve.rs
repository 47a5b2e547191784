//! `mercuriale serve`.

use std::sync::Arc;

use anyhow::Context as _;
use chrono::Utc;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use tokio_util::sync::CancellationToken;

use super::{Exit, output};
use crate::app::App;
use crate::bus::Hub;
use crate::config::Config;
use crate::domain::estimate::request_parse;
use crate::http::{Http, router};
use crate::sources::live::{Limits, Live, Scheduler, Target};
use crate::sources::refresh::Refresher;

/// A request that the starter lists answer.
const SAMPLE: &str = r#"{"lines":[{"label":"web","provider":"aws","service":"AmazonEC2","region":"eu-west-3","resource":"t3.medium","quantity":"3","pricing_model":"reserved-1y"}]}"#;

/// Who runs the refreshes that are due.
const SCHEDULER: &str = "scheduler";

/// Ends when the process is asked to stop, by Ctrl-C or SIGTERM.
pub(super) fn stop_signal() -> anyhow::Result<impl Future<Output = ()> + Send + 'static> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

pub(super) async fn serve(
    config: &Config,
    app: &App,
    targets: Vec<Target>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<Exit> {
    let listener = TcpListener::bind(config.listen).await.with_context(|| {
        format!("cannot listen on {}; set MERCURIALE_LISTEN or --listen to a free address", config.listen)
    })?;
    if app.is_embedded() {
        let listed = app.load_starter_lists().await?;
        if listed > 0 {
            output::line(&format!("Loaded {listed} starter prices (see starter/ for where they are from)."))?;
        }
    }
    let following = tokio::spawn(app.engine.clone().follow());
    let scheduled = if targets.is_empty() {
        None
    } else {
        let refresher = Refresher { actor: Arc::from(SCHEDULER), ..app.refresher.clone() };
        let live = Live::new(refresher, Limits::default())?;
        Some(tokio::spawn(Scheduler::new(live, targets, config.refresh_interval).run()))
    };
    let address = listener.local_addr()?;
    greet(app, &address.to_string()).await?;
    let stopping = CancellationToken::new();
    let state = Http {
        pricing: app.pricing.clone(),
        pool: app.pool.clone(),
        hub: Hub::spawn(app.pool.clone()),
        stopping: stopping.clone(),
    };
    let mut bus = app.spawn_bus().await?;
    let stop = async move {
        stop.await;
        stopping.cancel();
    };
    axum::serve(listener, router(state)).with_graceful_shutdown(stop).await?;
    bus.abort_all();
    following.abort();
    if let Some(scheduled) = scheduled {
        scheduled.abort();
    }
    Ok(Exit::Done)
}

/// Says where the service is, with a sample request and its answer where the ledger has the price.
async fn greet(app: &App, address: &str) -> anyhow::Result<()> {
    output::line(&format!("Mercuriale serves http://{address}"))?;
    let request = request_parse(SAMPLE.as_bytes())?;
    if let Ok(estimate) = app.pricing.estimate_calculate(&request, Utc::now()).await {
        output::line(&format!(
            "\nThree t3.medium in Paris, reserved for a year:\n\n  curl -s http://{address}/v1/estimates/calculate \
             -H 'content-type: application/json' -d '{SAMPLE}'\n\n{}\n",
            serde_json::to_string_pretty(&estimate)?
        ))?;
    }
    Ok(())
}
