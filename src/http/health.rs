//! Whether the service lives, and whether it can answer.

use axum::extract::State;
use axum::http::{HeaderName, header};
use axum::response::{IntoResponse as _, Response};

use super::Http;
use super::problem::Problem;

/// `GET /healthz`: the process serves requests.
pub(super) async fn alive() -> &'static str {
    "alive\n"
}

/// `GET /metrics`: counters of this process, for Prometheus.
pub(super) async fn metrics() -> ([(HeaderName, &'static str); 1], String) {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], crate::telemetry::metrics())
}

/// `GET /readyz`: the ledger answers; with its last position.
pub(super) async fn ready(State(http): State<Http>) -> Result<Response, Problem> {
    let position = crate::ledger::head(&http.pool).await?;
    Ok(axum::Json(serde_json::json!({ "position": position })).into_response())
}
