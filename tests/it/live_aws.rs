//! AWS lists over HTTP: versions, retries, cut and wrong answers.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use chrono::Utc;
use mercuriale::sources::live::Limits;
use mercuriale::sources::refresh::{RefreshRow, Report, refresh_get, release};
use std::time::Duration;

use crate::provider::{
    OFFER_INDEX, Provider, REGION_INDEX, borrowed, cents, cut, event_types, gzipped, limits, live,
    offer_file, offer_file_of, offer_path, refresher, retry_after, silent,
};
use crate::support::{Database, moved};

async fn row(database: &Database, report: &Report) -> RefreshRow {
    refresh_get(&database.pool, report.refresh_id).await.expect("a query").expect("a refresh")
}

/// Segments of a run.
async fn segments(database: &Database, report: &Report) -> Vec<Vec<u8>> {
    sqlx::query_scalar("select sha256 from observations.segments where refresh_id = $1 order by position")
        .bind(report.refresh_id)
        .fetch_all(&database.pool)
        .await
        .expect("segments")
}

fn counts(report: &Report) -> [u64; 8] {
    let counts = &report.counts;
    [
        counts.observed,
        counts.listed,
        counts.changed,
        counts.unchanged,
        counts.within_threshold,
        counts.not_observed,
        counts.withdrawn,
        counts.relisted,
    ]
}

#[tokio::test]
async fn an_unchanged_version_is_observed_again_without_a_download() {
    let (database, provider) = (Database::new().await, Provider::start().await);
    let live = live(&database, limits());
    let prices = cents(12);
    let file = provider.publish("20250327204525", "\"one\"", &offer_file(&borrowed(&prices)));
    let before = Utc::now();
    let first = live.refresh(&provider.paris()).await.expect("recorded");
    assert_eq!(counts(&first), [12, 12, 0, 0, 0, 0, 0, 0]);
    assert!(first.complete && before <= first.observed_at && first.observed_at <= Utc::now());
    let recorded = row(&database, &first).await;
    assert_eq!(recorded.origin, [format!("{}{file}", provider.url)]);
    assert_eq!((recorded.source.as_str(), recorded.scope.as_deref()), ("paris", Some("AmazonEC2/eu-west-3")));
    assert_eq!(recorded.source_version.as_deref(), Some("20250327204525"));
    assert_eq!(recorded.etag.as_deref(), Some("\"one\""));

    let second = live.refresh(&provider.paris()).await.expect("recorded");
    assert_eq!(counts(&second), [12, 0, 0, 12, 0, 0, 0, 0]);
    assert!(second.complete && second.observed_at > first.observed_at);
    assert_eq!(provider.asked(&file), 1, "downloads");
    assert_eq!(segments(&database, &second).await, segments(&database, &first).await);
    let repeated = row(&database, &second).await;
    assert_eq!(repeated.content_sha256, recorded.content_sha256);
    assert_eq!((repeated.source_version, repeated.etag), (recorded.source_version, recorded.etag));
    let stored: i64 = sqlx::query_scalar("select count(*) from observation_segments")
        .fetch_one(&database.pool)
        .await
        .expect("a count");
    assert_eq!(stored, 1);

    // One price moves and one is gone.
    let mut changed = prices.clone();
    changed[0].1 = "0.99".to_owned();
    changed.pop();
    let newer = provider.publish("20250403120000", "\"two\"", &offer_file(&borrowed(&changed)));
    let third = live.refresh(&provider.paris()).await.expect("recorded");
    assert_eq!(counts(&third), [11, 0, 1, 10, 0, 1, 0, 0]);
    assert_eq!((provider.asked(&file), provider.asked(&newer)), (1, 1));

    // An unchanged list goes on to miss what it missed, and withdraws it in the end.
    let fourth = live.refresh(&provider.paris()).await.expect("recorded");
    assert_eq!(counts(&fourth), [11, 0, 0, 11, 0, 1, 0, 0]);
    let fifth = live.refresh(&provider.paris()).await.expect("recorded");
    assert_eq!(counts(&fifth), [11, 0, 0, 11, 0, 1, 1, 0]);
    assert_eq!(provider.asked(&newer), 1);
    database.assert_sound().await;
}

#[tokio::test]
async fn an_unchanged_list_is_judged_by_the_official_prices_of_the_day() {
    let (database, provider) = (Database::new().await, Provider::start().await);
    let live = live(&database, limits());
    provider.publish("20250327204525", "\"one\"", &offer_file(&borrowed(&cents(12))));
    live.refresh(&provider.paris()).await.expect("recorded");
    database.append(vec![moved(3, "price.changed", Some("0.5"))]).await.expect("another source's price");
    let again = live.refresh(&provider.paris()).await.expect("recorded");
    assert_eq!(counts(&again), [12, 0, 1, 11, 0, 0, 0, 0]);
    let amount: String =
        sqlx::query_scalar("select amount::text from current_prices.prices where price_id = 3")
            .fetch_one(&database.pool)
            .await
            .expect("a price");
    assert_eq!(amount, "0.03");
    database.assert_sound().await;
}

#[tokio::test]
async fn a_list_that_the_server_calls_unmodified_is_not_sent_again() {
    let (database, provider) = (Database::new().await, Provider::start().await);
    let live = live(&database, limits());
    let list = offer_file(&borrowed(&cents(3)));
    provider.publish("20250327204525", "\"same\"", &list);
    let first = live.refresh(&provider.paris()).await.expect("recorded");
    let republished = provider.announce("20250403120000");
    provider.on(&republished, |asked| match asked.header(header::IF_NONE_MATCH) {
        Some("\"same\"") => StatusCode::NOT_MODIFIED.into_response(),
        _ => StatusCode::BAD_REQUEST.into_response(),
    });
    let second = live.refresh(&provider.paris()).await.expect("recorded");
    assert_eq!(counts(&second), [3, 0, 0, 3, 0, 0, 0, 0]);
    assert_eq!(segments(&database, &second).await, segments(&database, &first).await);
    let recorded = row(&database, &second).await;
    assert_eq!(recorded.source_version.as_deref(), Some("20250403120000"));
    assert_eq!(recorded.etag.as_deref(), Some("\"same\""));
    live.refresh(&provider.paris()).await.expect("recorded");
    assert_eq!(provider.asked(&republished), 1, "the version is known by now");
    database.assert_sound().await;
}

#[tokio::test]
async fn a_quarantined_version_is_not_taken_for_the_one_on_record() {
    let (database, provider) = (Database::new().await, Provider::start().await);
    let live = live(&database, limits());
    let file = provider.publish("20250327204525", "\"one\"", &offer_file(&borrowed(&cents(12))));
    live.refresh(&provider.paris()).await.expect("recorded");
    let halved = provider.publish("20250403120000", "\"two\"", &offer_file(&borrowed(&cents(6))));
    for asked in 1..=2 {
        let report = live.refresh(&provider.paris()).await.expect("recorded");
        assert!(report.quarantined, "{report:?}");
        assert_eq!(provider.asked(&halved), asked);
    }
    // Withdrawn by AWS: the version on record is current again.
    provider.announce("20250327204525");
    let back = live.refresh(&provider.paris()).await.expect("recorded");
    assert_eq!((counts(&back), back.quarantined), ([12, 0, 0, 12, 0, 0, 0, 0], false));
    assert_eq!(provider.asked(&file), 1);
    database.assert_sound().await;
}

#[tokio::test]
async fn a_released_version_is_the_one_on_record() {
    let (database, provider) = (Database::new().await, Provider::start().await);
    let live = live(&database, limits());
    let mut prices = cents(12);
    provider.publish("20250327204525", "\"one\"", &offer_file(&borrowed(&prices)));
    live.refresh(&provider.paris()).await.expect("recorded");
    for (_, amount) in &mut prices[..4] {
        "0.99".clone_into(amount);
    }
    let dearer = provider.publish("20250403120000", "\"two\"", &offer_file(&borrowed(&prices)));
    let held = live.refresh(&provider.paris()).await.expect("recorded");
    assert!(held.quarantined);
    let released = release(&refresher(&database, "administrator"), held.refresh_id).await.expect("released");
    assert_eq!(released.counts.changed, 4);
    let next = live.refresh(&provider.paris()).await.expect("recorded");
    assert_eq!((counts(&next), next.quarantined), ([12, 0, 0, 12, 0, 0, 0, 0], false));
    assert_eq!(provider.asked(&dearer), 1);
    database.assert_sound().await;
}

#[tokio::test]
async fn a_busy_or_failing_server_is_tried_again() {
    let (database, provider) = (Database::new().await, Provider::start().await);
    let list = offer_file(&borrowed(&cents(3)));
    let file = provider.announce("20250327204525");
    provider.on(&file, move |asked| match asked.before {
        0 => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        1 => retry_after(StatusCode::TOO_MANY_REQUESTS, 1),
        _ => list.clone().into_response(),
    });
    let began = std::time::Instant::now();
    let report = live(&database, limits()).refresh(&provider.paris()).await.expect("recorded");
    assert!(began.elapsed() >= Duration::from_secs(1), "Retry-After is waited for");
    assert_eq!((report.counts.listed, provider.asked(&file)), (3, 3));
    assert_eq!(event_types(&database).await.iter().filter(|kind| *kind == "refresh.started").count(), 1);
}

#[tokio::test]
async fn a_compressed_list_is_the_same_list() {
    let (database, provider) = (Database::new().await, Provider::start().await);
    let list = offer_file(&borrowed(&cents(5)));
    let file = provider.announce("20250327204525");
    provider.on(&file, move |asked| {
        assert_eq!(asked.header(header::ACCEPT_ENCODING), Some("gzip"));
        gzipped(&list)
    });
    let report = live(&database, limits()).refresh(&provider.paris()).await.expect("recorded");
    assert_eq!(report.counts.listed, 5);
}

/// Long enough that the parser has had a part of it when the connection is cut.
fn long_list() -> String {
    let prices: Vec<(String, String)> = (0..4_000).map(|n| (format!("S{n:05}"), "0.1".to_owned())).collect();
    offer_file(&borrowed(&prices))
}

#[tokio::test]
async fn a_cut_download_is_finished_without_a_trace() {
    let list = long_list();
    let cut_at = list.len() / 10 * 9;
    for ranges in [false, true] {
        let (database, provider) = (Database::new().await, Provider::start().await);
        let file = provider.announce("20250327204525");
        let text = list.clone();
        provider.on(&file, move |asked| {
            let headers = [(header::ETAG, "\"strong\""), (header::ACCEPT_RANGES, "bytes")];
            let response = match asked.header(header::RANGE) {
                None if asked.before == 0 => cut(&text, cut_at),
                None => {
                    assert!(!ranges, "a range was to be asked for");
                    text.clone().into_response()
                }
                Some(range) => {
                    assert_eq!(asked.header(header::IF_RANGE), Some("\"strong\""));
                    let from = range.strip_prefix("bytes=").and_then(|range| range.strip_suffix('-'));
                    let from: usize = from.and_then(|from| from.parse().ok()).expect("an open range");
                    assert_eq!(from, cut_at);
                    let content_range = format!("bytes {from}-{}/{}", text.len() - 1, text.len());
                    let part = text[from..].to_owned();
                    (StatusCode::PARTIAL_CONTENT, [(header::CONTENT_RANGE, content_range)], part)
                        .into_response()
                }
            };
            if ranges { (headers, response).into_response() } else { response }
        });
        let report = live(&database, limits()).refresh(&provider.paris()).await.expect("recorded");
        assert_eq!((report.counts.listed, report.complete), (4_000, true));
        assert_eq!(provider.asked(&file), 2);
        let types = event_types(&database).await;
        assert_eq!(types.iter().filter(|kind| *kind == "refresh.started").count(), 1);
        assert!(!types.contains(&"refresh.failed".to_owned()));
    }
}

/// Refreshes from a script for the offer file, and gives the reason of the failure, which is all that is recorded.
async fn failure(limits: Limits, script: impl FnMut() -> Response + Send + 'static) -> String {
    let (database, provider) = (Database::new().await, Provider::start().await);
    let mut script = script;
    let file = provider.announce("20250327204525");
    provider.on(&file, move |_| script());
    failure_of(&database, &provider, limits).await
}

async fn failure_of(database: &Database, provider: &Provider, limits: Limits) -> String {
    let error = live(database, limits).refresh(&provider.paris()).await.expect_err("a failure").to_string();
    assert_eq!(event_types(database).await, ["refresh.started", "refresh.failed"]);
    let (scope, state, reason): (String, String, String) =
        sqlx::query_as("select scope, state, reason from refreshes.refreshes")
            .fetch_one(&database.pool)
            .await
            .expect("one run");
    assert_eq!((scope.as_str(), state.as_str(), &reason), ("AmazonEC2/eu-west-3", "failed", &error));
    assert!(reason.contains(&provider.url), "the URL is named: {reason}");
    database.assert_projected().await;
    reason
}

#[tokio::test]
async fn a_download_that_is_always_cut_fails_and_leaves_nothing_else() {
    let list = long_list();
    let reason = failure(limits(), move || cut(&list, list.len() / 10 * 9)).await;
    assert!(reason.contains("error decoding response body"), "{reason}");
}

#[tokio::test]
async fn a_list_that_changes_between_two_parts_fails() {
    let (before, after) = (long_list(), long_list().replace("0.1", "0.2"));
    let mut cuts = 0;
    let reason = failure(limits(), move || {
        cuts += 1;
        if cuts == 1 { cut(&before, before.len() / 10 * 9) } else { after.clone().into_response() }
    })
    .await;
    assert!(reason.contains("the list changed while it was fetched"), "{reason}");
}

#[tokio::test]
async fn a_server_that_falls_silent_is_not_waited_for() {
    let limits =
        || Limits { idle_timeout: Duration::from_millis(300), retries: 1, ..crate::provider::limits() };
    let list = long_list();
    let reason = failure(limits(), move || silent(&list, 1_000)).await;
    assert!(reason.contains("fell silent"), "{reason}");
    let limits = Limits { list_timeout: Duration::from_secs(1), ..crate::provider::limits() };
    let list = long_list();
    let reason = failure(limits, move || silent(&list, 1_000)).await;
    assert!(reason.contains("not finished after 1 s"), "{reason}");
}

#[tokio::test]
async fn a_list_that_is_too_large_is_refused() {
    let limits = Limits { max_list_bytes: 10_000, ..limits() };
    let list = long_list();
    let told = list.clone();
    let reason = failure(limits.clone(), move || told.clone().into_response()).await;
    assert!(reason.contains("larger than the 10000 bytes"), "{reason}");
    // Also where the server does not say how long it is.
    let reason = failure(limits, move || {
        let chunk = Ok::<_, std::io::Error>(list.clone());
        axum::body::Body::from_stream(futures_util::stream::once(async { chunk })).into_response()
    })
    .await;
    assert!(reason.contains("larger than the 10000 bytes"), "{reason}");
}

#[tokio::test]
async fn a_server_that_asks_for_too_much_patience_is_left_alone() {
    let reason = failure(limits(), || retry_after(StatusCode::SERVICE_UNAVAILABLE, 600)).await;
    assert!(reason.contains("503 Service Unavailable, try again after 600 s"), "{reason}");
}

#[tokio::test]
async fn redirects_stay_within_the_origin() {
    let elsewhere = Provider::start().await;
    elsewhere.on("/list", |_| "secret".into_response());
    let target = format!("{}/list", elsewhere.url);
    let reason = failure(limits(), move || Redirect::temporary(&target).into_response()).await;
    assert!(reason.contains("only redirects within the origin"), "{reason}");
    assert_eq!(elsewhere.asked_at_all(), 0);

    let (database, provider) = (Database::new().await, Provider::start().await);
    let file = provider.announce("20250327204525");
    provider.on(&file, |_| Redirect::temporary("/moved").into_response());
    let list = offer_file(&borrowed(&cents(3)));
    provider.on("/moved", move |_| list.clone().into_response());
    let report = live(&database, limits()).refresh(&provider.paris()).await.expect("recorded");
    assert_eq!(report.counts.listed, 3);
}

type Prepare = Box<dyn Fn(&Provider)>;

#[tokio::test]
async fn what_is_not_the_list_that_was_asked_for_is_refused() {
    let list = offer_file_of("AmazonRDS", &[("S1", "1")]);
    let other_offer = move |provider: &Provider| {
        let list = list.clone();
        provider.on(&provider.announce("20250327204525"), move |_| list.clone().into_response());
    };
    let index = |path: &'static str, text: &'static str| {
        move |provider: &Provider| {
            provider.announce("20250327204525");
            provider.on(path, move |_| text.into_response());
        }
    };
    let cases: [(Prepare, &str); 6] = [
        (Box::new(other_offer), "the list is of AmazonRDS"),
        (
            Box::new(index(OFFER_INDEX, r#"{"offers":{"AmazonECS":{"offerCode":"AmazonECS"}}}"#)),
            "there is no offer AmazonEC2; the nearest is \"AmazonECS\"",
        ),
        (Box::new(index(REGION_INDEX, r#"{"regions":{}}"#)), "eu-west-3: AmazonEC2 is not offered"),
        (
            Box::new(index(
                REGION_INDEX,
                r#"{"regions":{"eu-west-3":{"currentVersionUrl":"http://169.254.169.254/latest"}}}"#,
            )),
            "is not a path within base_url",
        ),
        (Box::new(index(REGION_INDEX, "<html>")), "not JSON"),
        (Box::new(index(REGION_INDEX, "")), "cut off"),
    ];
    for (prepare, message) in cases {
        let (database, provider) = (Database::new().await, Provider::start().await);
        prepare(&provider);
        let error = live(&database, limits()).refresh(&provider.paris()).await.expect_err("a failure");
        assert!(error.to_string().contains(message), "{error}");
        assert_eq!(event_types(&database).await, ["refresh.started", "refresh.failed"]);
    }
}

#[tokio::test]
async fn a_mirror_may_stand_in_a_folder() {
    let (database, provider) = (Database::new().await, Provider::start().await);
    let mut mirror = provider.clone();
    mirror.url.push_str("/mirror");
    let list = offer_file(&borrowed(&cents(3)));
    provider.publish("20250327204525", "\"one\"", &list);
    for path in [OFFER_INDEX, REGION_INDEX, &offer_path("20250327204525")] {
        let inner = format!("{}{path}", provider.url);
        let text = reqwest::get(&inner).await.expect("an answer").text().await.expect("a text");
        provider.on(&format!("/mirror{path}"), move |_| text.clone().into_response());
    }
    let report = live(&database, limits()).refresh(&mirror.paris()).await.expect("recorded");
    assert_eq!(report.counts.listed, 3);
}
