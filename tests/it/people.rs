//! People who work with prices, for the tests of what they do.

use mercuriale::access::Role;
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};

use crate::service::{Refused, Service, client_with, line, list, refused};

/// Where the prices of [`service`] are.
pub(crate) const PLACE: [&str; 3] = ["acme", "Compute", "north"];
const TITLES: &str = "provider,service,region,sku_id,sku_price_id,unit,currency,tier_from,tier_to,amount";

/// A service that knows a flat price (1) and two tiers of another (2 and 3).
pub(crate) async fn service() -> Service {
    let service = Service::new().await;
    prices(&service, "2026-01-01T00:00:00Z", "0.10").await;
    service
}

/// Records a list in which the flat price has an amount.
pub(crate) async fn prices(service: &Service, observed_at: &str, amount: &str) {
    let rows = [
        TITLES,
        &format!("acme,Compute,north,machine,machine-1,Hrs,EUR,0,,{amount}"),
        "acme,Compute,north,storage,storage-1,GB-Mo,EUR,0,100,0.05",
        "acme,Compute,north,storage,storage-2,GB-Mo,EUR,100,,0.04",
    ];
    service.load(list("compute", observed_at, &rows)).await;
}

/// Somebody with a token.
#[derive(Clone)]
pub(crate) struct Person {
    client: Client,
    url: String,
}

impl Person {
    pub(crate) fn new(service: &Service, tenant: &str, subject: &str, role: Role) -> Self {
        Self { client: service.client_as(tenant, subject, role), url: service.url.clone() }
    }

    /// A person, or a program with a key.
    pub(crate) fn with_token(service: &Service, token: &str) -> Self {
        Self { client: client_with(token), url: service.url.clone() }
    }

    /// Makes a key; somebody with it.
    pub(crate) async fn key(&self, service: &Service, body: &Value) -> Self {
        let made = self.ok(Method::POST, "/v1/api-keys", Some(body), 201).await;
        Self::with_token(service, made["key"].as_str().expect("a key"))
    }

    pub(crate) async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Response {
        self.send_with_key(method, path, body, None).await
    }

    pub(crate) async fn send_with_key(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        key: Option<&str>,
    ) -> Response {
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        request.send().await.expect("an answer")
    }

    /// The JSON of an answer with this status.
    pub(crate) async fn ok(&self, method: Method, path: &str, body: Option<&Value>, status: u16) -> Value {
        json_of(self.send(method, path, body).await, status).await
    }

    pub(crate) async fn refused(&self, method: Method, path: &str, body: Option<&Value>) -> Refused {
        refused(self.send(method, path, body).await).await
    }

    /// Opens a session.
    pub(crate) async fn session(&self) -> String {
        let session = self.ok(Method::POST, "/v1/sessions", None, 201).await;
        session["session_id"].as_str().expect("an id").to_owned()
    }

    /// Sets an override.
    pub(crate) async fn set(&self, session: &str, price_id: i64, amount: &str) -> Value {
        let path = override_path(session, price_id);
        let response =
            self.send(Method::PUT, &path, Some(&json!({"amount": amount, "reason": "negotiated"}))).await;
        assert!(response.status().is_success(), "{:?}", response.text().await);
        response.json().await.expect("JSON")
    }

    /// An estimate, in a session if there is one.
    pub(crate) async fn estimate(&self, session: Option<&str>, lines: &[Value]) -> Value {
        let body = json!({"session": session, "lines": lines});
        self.ok(Method::POST, "/v1/estimates/calculate", Some(&body), 200).await
    }

    /// The unit price of the flat price.
    pub(crate) async fn unit_price(&self, session: Option<&str>) -> String {
        let estimate = self.estimate(session, &[vm()]).await;
        estimate["lines"][0]["unit_price"].as_str().expect("a decimal").to_owned()
    }

    /// How an estimate in a session is refused.
    pub(crate) async fn estimate_refused(&self, session: &str) -> Refused {
        let body = json!({"session": session, "lines": [vm()]});
        self.refused(Method::POST, "/v1/estimates/calculate", Some(&body)).await
    }

    /// Submits a proposal for the flat price; its id.
    pub(crate) async fn propose(&self, amount: &str) -> String {
        let body =
            json!({"price_id": 1, "amount": amount, "justification": "the list is wrong", "evidence": []});
        let proposal = self.ok(Method::POST, "/v1/proposals", Some(&body), 201).await;
        proposal["proposal_id"].as_str().expect("an id").to_owned()
    }

    /// Decides a proposal.
    pub(crate) async fn decide(&self, proposal: &str, decision: &str, body: &Value) -> Response {
        self.send(Method::POST, &format!("/v1/proposals/{proposal}/{decision}"), Some(body)).await
    }
}

/// A line for the flat price.
pub(crate) fn vm() -> Value {
    line(PLACE, "machine", json!({}))
}

pub(crate) fn override_path(session: &str, price_id: i64) -> String {
    format!("/v1/sessions/{session}/overrides/{price_id}")
}

pub(crate) async fn json_of(response: Response, status: u16) -> Value {
    let found = response.status().as_u16();
    let text = response.text().await.expect("a body");
    assert_eq!(found, status, "{text}");
    serde_json::from_str(&text).expect("JSON")
}

/// The sentence of a refusal.
pub(crate) fn detail(refused: &Refused) -> &str {
    refused.problem["detail"].as_str().expect("text")
}
