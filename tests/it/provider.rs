//! A server that speaks the providers' formats, from small lists written by hand.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use mercuriale::domain::refresh::Rules;
use mercuriale::sources::live::{Limits, Live, Target, load};
use mercuriale::sources::refresh::Refresher;

use crate::support::Database;

/// A request as a script sees it.
pub(crate) struct Asked {
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    /// Requests for this path before this one.
    pub(crate) before: usize,
}

impl Asked {
    pub(crate) fn header(&self, name: header::HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The value of `$skip`.
    pub(crate) fn skip(&self) -> usize {
        let query = self.uri.query().unwrap_or_default();
        query.split('&').find_map(|pair| pair.strip_prefix("$skip=")?.parse().ok()).unwrap_or(0)
    }
}

type Script = Box<dyn FnMut(&Asked) -> Response + Send>;

#[derive(Default)]
struct State {
    scripts: HashMap<String, Script>,
    asked: HashMap<String, usize>,
    queries: Vec<String>,
}

/// The server; it ends with the test's runtime.
#[derive(Clone)]
pub(crate) struct Provider {
    pub(crate) url: String,
    state: Arc<Mutex<State>>,
}

impl Provider {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let provider = Self { url, state: Arc::default() };
        let state = Arc::clone(&provider.state);
        let app = axum::Router::new().fallback(move |request: Request<Body>| {
            let response = answer(&mut state.lock().unwrap_or_else(PoisonError::into_inner), &request);
            async move { response }
        });
        tokio::spawn(async move { axum::serve(listener, app).await });
        provider
    }

    /// Sets what a path answers.
    pub(crate) fn on(&self, path: &str, script: impl FnMut(&Asked) -> Response + Send + 'static) {
        let mut state = self.state.lock().expect("the state");
        state.scripts.insert(path.to_owned(), Box::new(script));
    }

    /// How often a path was asked for.
    pub(crate) fn asked(&self, path: &str) -> usize {
        self.state.lock().expect("the state").asked.get(path).copied().unwrap_or(0)
    }

    /// Requests of all paths.
    pub(crate) fn asked_at_all(&self) -> usize {
        self.state.lock().expect("the state").asked.values().sum()
    }

    /// The queries of all requests, in order.
    pub(crate) fn queries(&self) -> Vec<String> {
        self.state.lock().expect("the state").queries.clone()
    }

    /// Publishes a list of `AmazonEC2` in Paris; returns the path of the offer file.
    pub(crate) fn publish(&self, version: &str, etag: &str, list: &str) -> String {
        let path = self.announce(version);
        let (etag, list) = (etag.to_owned(), list.to_owned());
        self.on(&path, move |asked| {
            if asked.header(header::IF_NONE_MATCH) == Some(&etag) {
                return ([(header::ETAG, etag.clone())], StatusCode::NOT_MODIFIED).into_response();
            }
            ([(header::ETAG, etag.clone())], list.clone()).into_response()
        });
        path
    }

    /// The two index files, for a current version.
    pub(crate) fn announce(&self, version: &str) -> String {
        let path = offer_path(version);
        self.on(OFFER_INDEX, |_| {
            json(r#"{"formatVersion":"v1.0","offers":{"AmazonEC2":{"offerCode":"AmazonEC2"}}}"#)
        });
        let index = format!(
            r#"{{"formatVersion":"v1.0","regions":{{"eu-west-3":{{"regionCode":"eu-west-3","currentVersionUrl":"{path}"}}}}}}"#
        );
        self.on(REGION_INDEX, move |_| json(&index));
        path
    }

    /// The sources of a file with `text` after its base URL.
    pub(crate) fn targets(&self, source: &str) -> Vec<Target> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), format!("[[source]]\nbase_url = \"{}\"\n{source}\n", self.url))
            .expect("written");
        load(file.path()).expect("sources")
    }

    /// `AmazonEC2` in Paris.
    pub(crate) fn paris(&self) -> Target {
        let source = "name=\"paris\"\nkind=\"aws\"\noffers=[\"AmazonEC2\"]\nregions=[\"eu-west-3\"]";
        self.targets(source).remove(0)
    }
}

fn answer(state: &mut State, request: &Request<Body>) -> Response {
    let path = request.uri().path().to_owned();
    let before = *state.asked.entry(path.clone()).and_modify(|count| *count += 1).or_insert(1) - 1;
    state.queries.push(request.uri().query().unwrap_or_default().to_owned());
    let asked = Asked { uri: request.uri().clone(), headers: request.headers().clone(), before };
    match state.scripts.get_mut(&path) {
        Some(script) => script(&asked),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

pub(crate) const OFFER_INDEX: &str = "/offers/v1.0/aws/index.json";
pub(crate) const REGION_INDEX: &str = "/offers/v1.0/aws/AmazonEC2/current/region_index.json";

pub(crate) fn offer_path(version: &str) -> String {
    format!("/offers/v1.0/aws/AmazonEC2/{version}/eu-west-3/index.json")
}

pub(crate) fn json(text: &str) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text.to_owned()).into_response()
}

pub(crate) fn gzipped(text: &str) -> Response {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).expect("compresses");
    ([(header::CONTENT_ENCODING, "gzip")], encoder.finish().expect("compresses")).into_response()
}

/// Sends the beginning of a text, waits until it has certainly left, and then `ends`.
fn broken(text: &str, at: usize, ends: impl Future<Output = std::io::Error> + Send + 'static) -> Response {
    let start = axum::body::Bytes::copy_from_slice(&text.as_bytes()[..at]);
    let end = async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        Err(ends.await)
    };
    let stream = futures_util::stream::StreamExt::chain(
        futures_util::stream::once(async { Ok(start) }),
        futures_util::stream::once(end),
    );
    ([(header::CONTENT_LENGTH, text.len().to_string())], Body::from_stream(stream)).into_response()
}

/// Cuts the connection after `at` bytes.
pub(crate) fn cut(text: &str, at: usize) -> Response {
    broken(text, at, async { std::io::Error::other("cut") })
}

/// Says no more after `at` bytes.
pub(crate) fn silent(text: &str, at: usize) -> Response {
    broken(text, at, std::future::pending())
}

pub(crate) fn retry_after(status: StatusCode, seconds: u32) -> Response {
    (status, [(header::RETRY_AFTER, seconds.to_string())]).into_response()
}

/// An offer file with a price for each SKU.
pub(crate) fn offer_file(prices: &[(&str, &str)]) -> String {
    offer_file_of("AmazonEC2", prices)
}

pub(crate) fn offer_file_of(offer: &str, prices: &[(&str, &str)]) -> String {
    let products: Vec<String> = prices
        .iter()
        .map(|(sku, _)| {
            format!(
                r#""{sku}":{{"sku":"{sku}","productFamily":"Compute Instance","attributes":{{"servicecode":"{offer}","regionCode":"eu-west-3","instanceType":"type-{sku}"}}}}"#
            )
        })
        .collect();
    let terms: Vec<String> = prices
        .iter()
        .map(|(sku, amount)| {
            format!(
                r#""{sku}":{{"{sku}.T":{{"offerTermCode":"T","sku":"{sku}","effectiveDate":"2025-03-01T00:00:00Z","priceDimensions":{{"{sku}.T.R":{{"rateCode":"{sku}.T.R","unit":"Hrs","beginRange":"0","endRange":"Inf","description":"","appliesTo":[],"pricePerUnit":{{"USD":"{amount}"}}}}}},"termAttributes":{{}}}}}}"#
            )
        })
        .collect();
    format!(
        "{{\"formatVersion\":\"v1.0\",\"offerCode\":\"{offer}\",\"publicationDate\":\"2025-03-27T20:45:25Z\",\n\
         \"products\":{{{}}},\n\"terms\":{{\"OnDemand\":{{\n{}\n}}}}}}",
        products.join(",\n"),
        terms.join(",\n")
    )
}

/// SKUs `S01`, `S02`, ... with prices of as many cents.
pub(crate) fn cents(count: u32) -> Vec<(String, String)> {
    (1..=count).map(|n| (format!("S{n:02}"), format!("0.{n:02}"))).collect()
}

pub(crate) fn borrowed(prices: &[(String, String)]) -> Vec<(&str, &str)> {
    prices.iter().map(|(sku, amount)| (sku.as_str(), amount.as_str())).collect()
}

/// An Azure page of `count` meters, from number `from` on.
pub(crate) fn azure_page(from: usize, count: usize, next: Option<&str>) -> String {
    let items: Vec<serde_json::Value> = (from..from + count)
        .map(|n| {
            serde_json::json!({
                "currencyCode": "USD", "tierMinimumUnits": 0.0, "retailPrice": 0.25, "unitPrice": 0.25,
                "armRegionName": "francecentral", "location": "FR Central", "meterId": format!("meter-{n}"),
                "meterName": format!("D{n}"), "productId": "P", "skuId": format!("P/{n}"), "productName": "D Series",
                "skuName": format!("D{n}"), "serviceName": "Virtual Machines", "serviceId": "S",
                "serviceFamily": "Compute", "unitOfMeasure": "1 Hour", "type": "Consumption",
                "isPrimaryMeterRegion": true, "armSkuName": format!("Standard_D{n}"),
            })
        })
        .collect();
    serde_json::json!({
        "BillingCurrency": "USD", "CustomerEntityId": "Default", "CustomerEntityType": "Retail",
        "Items": items, "NextPageLink": next, "Count": count,
    })
    .to_string()
}

/// Limits that do not make tests wait.
pub(crate) fn limits() -> Limits {
    Limits {
        retries: 2,
        first_delay: Duration::from_millis(5),
        max_delay: Duration::from_millis(20),
        ..Limits::default()
    }
}

pub(crate) fn live(database: &Database, limits: Limits) -> Live {
    live_as(database, limits, "test")
}

pub(crate) fn live_as(database: &Database, limits: Limits, actor: &str) -> Live {
    Live::new(refresher(database, actor), limits).expect("a client")
}

pub(crate) fn refresher(database: &Database, actor: &str) -> Refresher {
    Refresher {
        pool: database.pool.clone(),
        appender: database.appender.clone(),
        rules: Rules::default(),
        actor: actor.into(),
    }
}

/// The types of all events, in order.
pub(crate) async fn event_types(database: &Database) -> Vec<String> {
    sqlx::query_scalar("select event_type from events order by position")
        .fetch_all(&database.pool)
        .await
        .expect("events")
}
