//! The HTTP service on a port of its own, over a ledger that lists are loaded into.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use mercuriale::access::{Authority, Principal, Role};
use mercuriale::bus::Hub;
use mercuriale::cache::MemoryCache;
use mercuriale::domain::refresh::Rules;
use mercuriale::http::{Http, Patience, RateLimits, router};
use mercuriale::pricing::Pricing;
use mercuriale::sources::live::{Live, OnDemand, Target};
use mercuriale::sources::refresh::{Refresher, Report};
use mercuriale::sources::{Format, ListEnd, Overrides, csv_list};
use mercuriale::webhooks::{Reach, Webhooks};
use reqwest::header::{self, HeaderMap, HeaderValue};
use reqwest::{Method, Response};
use rust_decimal::Decimal;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use crate::live_real::from_files;
use crate::provider;
use crate::support::{Database, TENANT, authority, token};

/// The starter lists in the order in which the program loads them.
const STARTER: [&str; 7] = [
    include_str!("../../starter/amazonec2-eu-west-3.csv"),
    include_str!("../../starter/amazondynamodb-eu-west-3.csv"),
    include_str!("../../starter/amazonapigateway-eu-west-3.csv"),
    include_str!("../../starter/amazons3-eu-west-3.csv"),
    include_str!("../../starter/amazonecs-eu-west-3.csv"),
    include_str!("../../starter/awslambda-eu-west-3.csv"),
    include_str!("../../starter/virtual-machines-francecentral.csv"),
];

/// A running service.
pub(crate) struct Service {
    pub(crate) database: Database,
    pub(crate) url: String,
    /// Sends the token of an administrator with each request.
    pub(crate) client: reqwest::Client,
    pub(crate) authority: Authority,
    refresher: Refresher,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Service {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// A refused request.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) status: u16,
    pub(crate) problem: Value,
}

impl Refused {
    /// The last part of the URN.
    pub(crate) fn kind(&self) -> &str {
        let urn = self.problem["type"].as_str().expect("a type");
        urn.strip_prefix("urn:mercuriale:problem:").expect("our URN")
    }

    /// What is wrong where, for one fault: place, label, message, remedy.
    pub(crate) fn only_error(&self) -> [&str; 4] {
        let errors = self.problem["errors"].as_array().expect("errors");
        assert_eq!(errors.len(), 1, "{}", self.problem);
        ["place", "label", "message", "remedy"].map(|name| errors[0][name].as_str().unwrap_or_default())
    }
}

impl Service {
    /// A service over an empty ledger.
    pub(crate) async fn new() -> Self {
        Self::with_authority(authority().await).await
    }

    /// The same, which takes the tokens of an authority.
    pub(crate) async fn with_authority(authority: Authority) -> Self {
        Self::with(authority, Vec::new(), RateLimits::off()).await
    }

    /// The same, which fetches lists when asked to.
    pub(crate) async fn with_targets(targets: Vec<Target>) -> Self {
        Self::with(authority().await, targets, RateLimits::off()).await
    }

    /// The same, which limits how much clients may send.
    pub(crate) async fn with_limits(limits: RateLimits) -> Self {
        Self::with(authority().await, Vec::new(), limits).await
    }

    async fn with(authority: Authority, targets: Vec<Target>, limits: RateLimits) -> Self {
        let database = Database::new().await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let pricing = Pricing::new(database.pool.clone(), vec![Arc::new(MemoryCache::new(1_000))]);
        // Small lists change as a whole here.
        let rules = Rules { missing_limit: Decimal::ONE, changed_limit: Decimal::ONE, ..Rules::default() };
        let refresher = Refresher { rules, ..provider::refresher(&database, "test") };
        let live = Live::new(refresher.clone(), provider::limits()).expect("a client");
        let app = router(Http {
            pricing,
            pool: database.pool.clone(),
            hub: Hub::spawn(database.pool.clone()),
            refresher: refresher.clone(),
            on_demand: OnDemand::new(live, targets),
            webhooks: Webhooks::new(database.pool.clone(), Reach::Private),
            authority: authority.clone().with_keys(database.pool.clone()),
            limits,
            cors_origins: vec!["https://finops.example.org".parse().expect("a header")],
            stopping: CancellationToken::new(),
        });
        let serving = tokio::spawn(async move {
            mercuriale::http::serve(listener, app, Patience::default(), std::future::pending())
                .await
                .expect("serves");
        });
        // Another test may have installed it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = client_with(&token(&authority, TENANT, Role::Admin));
        Self { database, url, client, authority, refresher, serving }
    }

    /// Sends the token of a member of a tenant with each request.
    pub(crate) fn client_of(&self, tenant: &str, role: Role) -> reqwest::Client {
        client_with(&token(&self.authority, tenant, role))
    }

    /// Sends the token of a certain member of a tenant with each request.
    pub(crate) fn client_as(&self, tenant: &str, subject: &str, role: Role) -> reqwest::Client {
        let principal = Principal::new(tenant, subject, role).expect("a principal");
        client_with(&self.authority.issue(&principal, Duration::from_hours(1)).0)
    }

    /// A service over the starter lists.
    pub(crate) async fn with_starter_lists() -> Self {
        let service = Self::new().await;
        for list in STARTER {
            service.load(list.to_owned()).await;
        }
        service
    }

    /// Records a list in our own CSV.
    pub(crate) async fn load(&self, text: String) -> Report {
        let report = self
            .refresher
            .refresh("starter", vec!["list.csv".to_owned()], move |sink| {
                csv_list::read(text.as_bytes(), "list.csv", &Overrides::default(), sink)?;
                Ok(ListEnd { complete: true, content_sha256: Sha256::digest(&text).into() })
            })
            .await
            .expect("a list");
        assert!(!report.quarantined, "{report:?}");
        report
    }

    /// Records the list of a file.
    pub(crate) async fn load_file(&self, format: Format, path: &Path) {
        let report = from_files(&self.refresher, format, path).await;
        assert!(!report.quarantined, "{report:?}");
    }

    /// Any request, with the header that every answer has.
    pub(crate) async fn request(&self, method: Method, path: &str) -> Response {
        let response =
            self.client.request(method, format!("{}{path}", self.url)).send().await.expect("an answer");
        let id = response.headers().get("x-request-id").expect("x-request-id").to_str().expect("text");
        id.parse::<uuid::Uuid>().expect("an id");
        response
    }

    /// The JSON at a path.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let response = self.request(Method::GET, path).await;
        assert_eq!(response.status(), 200, "{path}: {:?}", response.text().await);
        response.json().await.expect("JSON")
    }

    /// How a path is refused.
    pub(crate) async fn get_refused(&self, path: &str) -> Refused {
        refused(self.request(Method::GET, path).await).await
    }

    /// Sends an estimate request.
    pub(crate) async fn calculate(&self, body: impl Into<reqwest::Body>) -> Response {
        self.client
            .post(format!("{}/v1/estimates/calculate", self.url))
            .header("content-type", "application/json")
            .body(body)
            .send()
            .await
            .expect("an answer")
    }

    /// An estimate.
    pub(crate) async fn estimate(&self, request: &Value) -> Value {
        let response = self.calculate(request.to_string()).await;
        assert_eq!(response.status(), 200, "{request}: {:?}", response.text().await);
        assert!(response.headers().contains_key("x-request-id"));
        response.json().await.expect("JSON")
    }

    /// The only line of an estimate of one line.
    pub(crate) async fn estimate_line(&self, line: &Value) -> Value {
        self.estimate(&json!({"lines": [line]})).await["lines"][0].take()
    }

    /// The same as of a time.
    pub(crate) async fn estimate_line_as_of(&self, line: &Value, as_of: &str) -> Value {
        self.estimate(&json!({"as_of": as_of, "lines": [line]})).await["lines"][0].take()
    }

    /// How an estimate is refused.
    pub(crate) async fn estimate_refused(&self, body: impl Into<reqwest::Body>) -> Refused {
        refused(self.calculate(body).await).await
    }
}

/// Sends a token with each request.
pub(crate) fn client_with(token: &str) -> reqwest::Client {
    let mut bearer = HeaderValue::from_str(&format!("Bearer {token}")).expect("a header");
    bearer.set_sensitive(true);
    let headers = HeaderMap::from_iter([(header::AUTHORIZATION, bearer)]);
    reqwest::Client::builder().default_headers(headers).build().expect("a client")
}

/// Checks what every problem document has.
pub(crate) async fn refused(response: Response) -> Refused {
    let status = response.status().as_u16();
    assert_eq!(response.headers()["content-type"], "application/problem+json", "{status}");
    assert!(response.headers().contains_key("x-request-id"));
    let problem: Value = response.json().await.expect("JSON");
    assert_eq!(problem["status"], status, "{problem}");
    assert!(status >= 400, "{problem}");
    for name in ["title", "detail"] {
        assert!(problem[name].as_str().is_some_and(|text| !text.is_empty()), "{problem}");
    }
    for error in problem["errors"].as_array().into_iter().flatten() {
        assert!(error["place"].is_string(), "{problem}");
        for name in ["message", "remedy"] {
            assert!(error[name].as_str().is_some_and(|text| !text.is_empty()), "{problem}");
        }
    }
    Refused { status, problem }
}

/// A line of a request.
pub(crate) fn line(place: [&str; 3], resource: &str, more: Value) -> Value {
    let [provider, service, region] = place;
    let mut line = json!({
        "label": "web", "provider": provider, "service": service, "region": region, "resource": resource,
        "quantity": "1",
    });
    let Value::Object(more) = more else { panic!("an object of fields") };
    line.as_object_mut().expect("an object").extend(more);
    line
}

/// A list of one scope in our own CSV.
pub(crate) fn list(scope: &str, observed_at: &str, rows: &[&str]) -> String {
    format!("# observed_at: {observed_at}\n# scope: {scope}\n{}\n", rows.join("\n"))
}

/// A time.
pub(crate) fn at(text: &str) -> DateTime<Utc> {
    text.parse().expect("a time")
}
