//! Azure lists over HTTP: pages to the end, and pages that go wrong.

use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use mercuriale::sources::live::{Limits, Target};
use mercuriale::sources::refresh::{RefreshError, Report};

use crate::provider::{Asked, Provider, azure_page, cut, event_types, limits, live, retry_after};
use crate::support::Database;

const PRICES: &str = "/api/retail/prices";
const SCOPE: &str = "armRegionName eq 'francecentral'";

fn france(provider: &Provider) -> Target {
    provider.targets(&format!("name=\"france\"\nkind=\"azure\"\nfilters=[\"{SCOPE}\"]")).remove(0)
}

/// Link to the page that skips this many items, as Azure writes it.
fn link(provider: &Provider, skip: usize) -> String {
    format!(
        "{}{PRICES}?currencyCode='USD'&$filter=armRegionName%20eq%20%27francecentral%27&$skip={skip}",
        provider.url
    )
}

/// Pages of ten items up to `items`, except where `special` answers.
fn pages(
    provider: &Provider,
    items: usize,
    mut special: impl FnMut(&Asked) -> Option<Response> + Send + 'static,
) {
    let own = provider.clone();
    provider.on(PRICES, move |asked| {
        special(asked).unwrap_or_else(|| {
            let skip = asked.skip();
            let next = (skip + 10 < items).then(|| link(&own, skip + 10));
            azure_page(skip, 10.min(items - skip), next.as_deref()).into_response()
        })
    });
}

async fn refresh(database: &Database, provider: &Provider) -> Result<Report, RefreshError> {
    live(database, limits()).refresh(&france(provider)).await
}

#[tokio::test]
async fn pages_are_followed_to_the_end() {
    let (database, provider) = (Database::new().await, Provider::start().await);
    pages(&provider, 25, |_| None);
    let first = refresh(&database, &provider).await.expect("recorded");
    assert_eq!((first.counts.observed, first.counts.listed, first.complete), (25, 25, true));
    assert_eq!((first.source.as_str(), first.scope.as_str()), ("france", SCOPE));
    let asked = provider.queries();
    assert_eq!(asked.len(), 3);
    assert_eq!(asked[0], "currencyCode=%27USD%27&$filter=armRegionName%20eq%20%27francecentral%27");
    let second = refresh(&database, &provider).await.expect("recorded");
    assert_eq!((second.counts.unchanged, second.counts.not_observed), (25, 0));
    database.assert_sound().await;
}

#[tokio::test]
async fn everything_is_asked_for_without_a_filter() {
    let (database, provider) = (Database::new().await, Provider::start().await);
    pages(&provider, 5, |_| None);
    let all = provider.targets("name=\"everything\"\nkind=\"azure\"").remove(0);
    let report = live(&database, limits()).refresh(&all).await.expect("recorded");
    assert_eq!((report.scope.as_str(), report.counts.listed), ("all", 5));
    assert_eq!(provider.queries(), ["currencyCode=%27USD%27"]);
}

#[tokio::test]
async fn a_busy_server_is_waited_for_and_a_cut_page_is_fetched_again() {
    let (database, provider) = (Database::new().await, Provider::start().await);
    let mut busy = 0;
    pages(&provider, 25, move |asked| {
        if asked.skip() != 10 {
            return None;
        }
        busy += 1;
        match busy {
            1 => Some(retry_after(StatusCode::TOO_MANY_REQUESTS, 1)),
            2 => Some(cut(&azure_page(10, 10, None), 2_000)),
            _ => None,
        }
    });
    let began = std::time::Instant::now();
    let report = refresh(&database, &provider).await.expect("recorded");
    assert!(began.elapsed() >= Duration::from_secs(1), "Retry-After is waited for");
    assert_eq!((report.counts.listed, report.complete), (25, true));
    assert_eq!(provider.asked(PRICES), 5);
}

#[tokio::test]
async fn a_page_that_vanishes_makes_the_list_partial() {
    let vanished: [fn() -> Response; 3] = [
        || StatusCode::NOT_FOUND.into_response(),
        || StatusCode::BAD_GATEWAY.into_response(),
        || azure_page(20, 0, None).into_response(),
    ];
    for gone in vanished {
        let (database, provider) = (Database::new().await, Provider::start().await);
        pages(&provider, 30, |_| None);
        refresh(&database, &provider).await.expect("recorded");
        pages(&provider, 30, move |asked| (asked.skip() == 20).then(gone));
        let report = refresh(&database, &provider).await.expect("recorded");
        assert_eq!((report.complete, report.quarantined), (false, false));
        assert_eq!((report.counts.observed, report.counts.not_observed), (20, 0));
        pages(&provider, 30, |_| None);
        let whole = refresh(&database, &provider).await.expect("recorded");
        assert_eq!((whole.counts.unchanged, whole.complete), (30, true));
        database.assert_sound().await;
    }
}

type Link = Box<dyn Fn(&Provider) -> String>;

#[tokio::test]
async fn pages_that_repeat_or_lead_away_fail() {
    let elsewhere = Provider::start().await;
    let foreign = format!("{}{PRICES}?$skip=10", elsewhere.url);
    let cases: [(Link, &str); 5] = [
        // The first page once more, by the number of items to skip.
        (Box::new(|provider| link(provider, 0)), "skips \"0\" items"),
        // The same by a link that has no such number.
        (Box::new(|provider| format!("{}{PRICES}?$skiptoken=x", provider.url)), "go in a circle"),
        (Box::new(move |_| foreign.clone()), "leads away from"),
        (Box::new(|provider| provider.url.replace("http://", "http://user:secret@")), "leads away from"),
        (Box::new(|_| "next".to_owned()), "is not a URL"),
    ];
    for (next, message) in cases {
        let (database, provider) = (Database::new().await, Provider::start().await);
        let next = next(&provider);
        provider.on(PRICES, move |asked| azure_page(asked.before * 10, 10, Some(&next)).into_response());
        let error = refresh(&database, &provider).await.expect_err("a failure").to_string();
        assert!(error.contains(message) && !error.contains("secret"), "{error}");
        assert_eq!(event_types(&database).await, ["refresh.started", "refresh.failed"]);
    }
    assert_eq!(elsewhere.asked_at_all(), 0);
}

#[tokio::test]
async fn a_list_without_end_is_given_up() {
    let (database, provider) = (Database::new().await, Provider::start().await);
    pages(&provider, usize::MAX - 10, |_| None);
    let limits = Limits { max_pages: 7, ..limits() };
    let error = live(&database, limits).refresh(&france(&provider)).await.expect_err("a failure").to_string();
    assert!(error.contains("more than 7 pages"), "{error}");
    assert_eq!(provider.asked(PRICES), 7);
}

#[tokio::test]
async fn another_currency_than_the_one_asked_for_fails() {
    let (database, provider) = (Database::new().await, Provider::start().await);
    pages(&provider, 5, |_| None);
    let euros = provider.targets("name=\"euros\"\nkind=\"azure\"\ncurrency=\"EUR\"").remove(0);
    let error = live(&database, limits()).refresh(&euros).await.expect_err("a failure").to_string();
    assert!(error.contains("in USD, not in EUR"), "{error}");
    assert_eq!(event_types(&database).await, ["refresh.started", "refresh.failed"]);
}

#[tokio::test]
async fn an_empty_answer_is_quarantined() {
    let (database, provider) = (Database::new().await, Provider::start().await);
    provider.on(PRICES, |_| azure_page(0, 0, None).into_response());
    let report = refresh(&database, &provider).await.expect("recorded");
    assert!(report.quarantined);
}
