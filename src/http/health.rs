//! Whether the service lives, and whether it can answer.

use axum::extract::State;
use axum::http::{HeaderName, header};
use serde::Serialize;

use super::Http;
use super::problem::Problem;

/// Where the ledger stands.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Ready {
    /// Of its last event; 0 where it is empty.
    position: i64,
}

/// The process serves requests.
#[utoipa::path(
    get,
    path = "/healthz",
    responses((status = 200, body = str, content_type = "text/plain; charset=utf-8", example = "alive\n")),
)]
pub(super) async fn alive() -> &'static str {
    "alive\n"
}

/// Counters of this process, for Prometheus.
#[utoipa::path(
    get,
    path = "/metrics",
    responses((status = 200, body = str, content_type = "text/plain; version=0.0.4; charset=utf-8")),
)]
pub(super) async fn metrics() -> ([(HeaderName, &'static str); 1], String) {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], crate::telemetry::metrics())
}

/// The ledger answers.
#[utoipa::path(get, path = "/readyz", responses((status = 200, body = Ready)))]
pub(super) async fn ready(State(http): State<Http>) -> Result<axum::Json<Ready>, Problem> {
    let position = crate::ledger::head(&http.pool).await?;
    Ok(axum::Json(Ready { position }))
}
