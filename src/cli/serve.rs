//! `mercuriale serve`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use chrono::Utc;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use tokio_util::sync::CancellationToken;

use super::{Exit, output};
use crate::access::{Authority, Principal, Role};
use crate::app::App;
use crate::bus::Hub;
use crate::config::Config;
use crate::domain::estimate::request_parse;
use crate::http::{self, Http, Patience, RateLimits, router};
use crate::ledger;
use crate::sources::live::{Limits, Live, OnDemand, Scheduler, Target};
use crate::sources::refresh::Refresher;
use crate::webhooks::{Deliverer, Pace, Reach, Webhooks};

/// A request that the starter lists answer.
const SAMPLE: &str = r#"{"lines":[{"label":"web","provider":"aws","service":"AmazonEC2","region":"eu-west-3","resource":"t3.medium","quantity":"3","pricing_model":"reserved-1y"}]}"#;

/// The principal of the token that is printed once.
const FIRST_TENANT: &str = "default";
const FIRST_SUBJECT: &str = "admin";
const FIRST_TOKEN: Duration = Duration::from_hours(24);

/// Who runs the refreshes that are due.
const SCHEDULER: &str = "scheduler";

/// How long what was accepted may take, once the process is asked to stop. Those who stop processes kill them soon after.
const GRACE: Duration = Duration::from_secs(25);

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
    let secret = config.token_secret()?;
    let authority = Authority::open(&secret, config.jwt_settings()).await.map_err(anyhow::Error::msg)?;
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
    let refresher = Refresher { actor: Arc::from(SCHEDULER), ..app.refresher.clone() };
    let live = Live::new(refresher.clone(), Limits::default())?;
    let on_demand = OnDemand::new(live.clone(), targets.clone());
    let accepted = on_demand.clone();
    let scheduled = if targets.is_empty() {
        None
    } else {
        Some(tokio::spawn(Scheduler::new(live, targets, config.refresh_interval).run()))
    };
    let address = listener.local_addr()?;
    greet(config, app, &address.to_string()).await?;
    if secret.is_new {
        let admin = Principal::new(FIRST_TENANT, FIRST_SUBJECT, Role::Admin)?;
        let (token, expires_at) = authority.issue(&admin, FIRST_TOKEN);
        output::line(&format!(
            "A token for an administrator of the tenant {FIRST_TENANT}, until {}; it is not shown again:\n\n  {token}\n",
            output::time(expires_at)
        ))?;
    }
    let stopping = CancellationToken::new();
    let reach = if config.webhook_allow_private { Reach::Private } else { Reach::Public };
    let state = Http {
        pricing: app.pricing.clone(),
        pool: app.pool.clone(),
        hub: Hub::spawn(app.pool.clone()),
        refresher,
        on_demand,
        webhooks: Webhooks::new(app.pool.clone(), reach),
        authority: authority.with_keys(app.pool.clone()),
        limits: RateLimits::new(config.rate_limit, config.rate_burst),
        cors_origins: config.cors_origins.clone(),
        stopping: stopping.clone(),
    };
    let mut bus = app.spawn_bus().await?;
    let deliverer = Deliverer::new(app.pool.clone(), ledger::id(&app.pool).await?, reach, Pace::default())?;
    bus.spawn(deliverer.run());
    let stop = {
        let stopping = stopping.clone();
        async move {
            stop.await;
            stopping.cancel();
        }
    };
    let finish = async {
        http::serve(listener, router(state), Patience::default(), stop).await?;
        accepted.finished().await;
        Ok::<_, std::io::Error>(())
    };
    let too_late = async {
        stopping.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        finished = finish => finished?,
        () = too_late => tracing::warn!("requests or refreshes are cut off: they took over {} s to end", GRACE.as_secs()),
    }
    bus.abort_all();
    following.abort();
    if let Some(scheduled) = scheduled {
        scheduled.abort();
    }
    Ok(Exit::Done)
}

/// Says where the service is, with a sample request and its answer where the ledger has the price.
async fn greet(config: &Config, app: &App, address: &str) -> anyhow::Result<()> {
    output::line(&format!("Mercuriale serves http://{address}"))?;
    let request = request_parse(SAMPLE.as_bytes())?;
    if let Ok(estimate) = app.pricing.estimate_calculate(&request, Utc::now()).await {
        output::line(&format!(
            "\nThree t3.medium in Paris, reserved for a year:\n\n  curl -s http://{address}/v1/estimates/calculate \
             -H \"authorization: Bearer {}\" -H 'content-type: application/json' -d '{SAMPLE}'\n\n{}\n",
            token_in_shell(config)?,
            serde_json::to_string_pretty(&estimate)?
        ))?;
    }
    Ok(())
}

/// What a shell puts in place of a token: no token of an operator's own secret is ever printed.
fn token_in_shell(config: &Config) -> anyhow::Result<String> {
    if config.jwt_secret.is_some() {
        return Ok("$TOKEN".to_owned());
    }
    let program = std::env::current_exe()?;
    let data_dir = std::path::absolute(&config.data_dir)?;
    Ok(format!(
        "$({} token issue --role viewer --tenant {FIRST_TENANT} --data-dir {})",
        quoted(&program),
        quoted(&data_dir)
    ))
}

/// A path as one word of a shell, also within double quotes.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_of_a_shell() {
        let path = Path::new("/tmp/it's \"a\" $HOME `x`");
        let script = format!("printf %s \"$(printf %s {})\"", quoted(path));
        let output = std::process::Command::new("sh").args(["-c", &script]).output().expect("a shell");
        assert_eq!(String::from_utf8_lossy(&output.stdout), path.display().to_string());
    }
}
