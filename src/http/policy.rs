//! The discount policy: read, and set by administrators.

use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use uuid::Uuid;

use super::Http;
use super::body::{object_of, read_json};
use super::conditional::{version_expected, with_etag};
use super::problem::{Problem, ProblemType};
use crate::access::Principal;
use crate::domain::discounts::{DiscountPolicy, Rates};
use crate::ledger::AppendError;
use crate::pricing::policy_set;

/// What `PUT /v1/discount-policy` takes.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewDiscountPolicy)]
struct Wanted {
    rates: Rates,
}

/// The discount rates in force; the `ETag` is the version.
#[utoipa::path(
    get,
    path = "/v1/discount-policy",
    responses((status = 200, body = DiscountPolicy, headers(("etag" = String, description = "of this version")))),
)]
pub(super) async fn show(State(http): State<Http>) -> Result<Response, Problem> {
    Ok(answer(&http.pricing.discount_policy().await?))
}

/// Puts discount rates in force, if those that `If-Match` names still are.
#[utoipa::path(
    put,
    path = "/v1/discount-policy",
    params(("if-match" = String, Header, description = "the `ETag` of the policy that this one replaces",
            example = "\"1\"", pattern = "^\"[1-9][0-9]{0,8}\"$")),
    request_body(content = Wanted, example = json!({
        "rates": {"on-demand": "0", "reserved-1y": "0.40", "reserved-3y": "0.60", "spot": "0.90"},
    })),
    responses(
        (status = 200, body = DiscountPolicy, headers(("etag" = String, description = "of the new version"))),
        (status = 412, description = "another version is in force"),
        (status = 428, description = "there is no `If-Match`"),
    ),
)]
pub(super) async fn set(
    State(http): State<Http>,
    principal: Principal,
    request: Request,
) -> Result<Response, Problem> {
    let expected = version_expected(request.headers(), "discount policy")?;
    let body = read_json(request).await?;
    let Wanted { rates } =
        object_of(&body, "{\"rates\":{\"on-demand\":\"0\",\"reserved-1y\":\"0.40\",...}}, all four")?;
    let set =
        policy_set(&http.refresher.appender, principal.shared_origin(Uuid::now_v7()), expected, rates).await;
    match set {
        Ok(policy) => Ok(answer(&policy)),
        Err(AppendError::Conflict { actual, .. }) => {
            let version = actual + 1;
            let detail = format!("version {version} is in force, not {expected}: read it and decide anew");
            Err(Problem::new(ProblemType::PreconditionFailed, detail))
        }
        Err(error) => Err(error.into()),
    }
}

fn answer(policy: &DiscountPolicy) -> Response {
    with_etag(axum::Json(policy).into_response(), &policy.version.to_string())
}
