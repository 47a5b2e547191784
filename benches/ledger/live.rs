//! A refresh over HTTP beside the same refresh from a file.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use axum::Router;
use axum::body::Bytes;
use axum::extract::Path as Segment;
use axum::routing::get;
use chrono::{Duration, Utc};
use mercuriale::sources::live::{Limits, Live, load};

use crate::refresh::{refresh_file, refresher, write_list};
use crate::server::Server;
use crate::service::serve;
use crate::table::{Table, median};

/// Some 200,000 prices.
const SKUS: i64 = 10_500;
const ROUNDS: i32 = 3;

pub(crate) async fn measure(server: &Server, folder: &Path, table: &mut Table) -> anyhow::Result<()> {
    let file = folder.join("live.json");
    write_list(&file, SKUS)?;
    let pool = server.ledger("live").await?;
    let refresher = refresher(pool.clone());
    let address = serve(provider(std::fs::read(&file)?.into())).await?;
    let sources = folder.join("sources.toml");
    std::fs::write(
        &sources,
        format!(
            "[[source]]\nname = \"bench\"\nkind = \"aws\"\nbase_url = \"http://{address}\"\n\
             offers = [\"AmazonEC2\"]\nregions = [\"eu-west-3\"]\n"
        ),
    )?;
    let target = load(&sources)?.remove(0);
    let live = Live::new(refresher.clone(), Limits::default())?;
    let listed_at = Utc::now() - Duration::days(10);
    // The first run of each knows nothing of its scope.
    let prices = refresh_file(&refresher, &file, listed_at).await?.counts.observed;
    live.refresh(&target).await?;
    let mut rounds = Vec::new();
    for round in 1..=ROUNDS {
        let began = Instant::now();
        let report = refresh_file(&refresher, &file, listed_at + Duration::days(round.into())).await?;
        let from_file = began.elapsed().as_secs_f64();
        anyhow::ensure!(report.counts.unchanged == prices, "{report:?}");
        let began = Instant::now();
        let report = live.refresh(&target).await?;
        anyhow::ensure!(report.counts.unchanged == prices, "{report:?}");
        rounds.push((began.elapsed().as_secs_f64(), from_file));
    }
    table.note(
        &format!("refresh of {prices} unchanged prices over HTTP"),
        format!("{:.2} s", median(rounds.iter().map(|round| round.0))),
        format!("from a file: {:.2} s", median(rounds.iter().map(|round| round.1))),
        &format!("{:.2}", median(rounds.iter().map(|(http, file)| http / file))),
    );
    pool.close().await;
    Ok(())
}

/// Publishes the list as a new version each time it is asked for the current one, so that it has to be fetched.
fn provider(list: Bytes) -> Router {
    let version = Arc::new(AtomicU32::new(0));
    let regions = move || {
        let version = version.fetch_add(1, Ordering::Relaxed);
        async move {
            format!(
                r#"{{"formatVersion":"v1.0","regions":{{"eu-west-3":{{"regionCode":"eu-west-3",
                "currentVersionUrl":"/offers/v1.0/aws/AmazonEC2/{version}/eu-west-3/index.json"}}}}}}"#
            )
        }
    };
    let offers = r#"{"formatVersion":"v1.0","offers":{"AmazonEC2":{"offerCode":"AmazonEC2"}}}"#;
    Router::new()
        .route("/offers/v1.0/aws/index.json", get(move || async move { offers }))
        .route("/offers/v1.0/aws/AmazonEC2/current/region_index.json", get(regions))
        .route(
            "/offers/v1.0/aws/AmazonEC2/{version}/eu-west-3/index.json",
            get(move |_: Segment<String>| async move { list.clone() }),
        )
}
