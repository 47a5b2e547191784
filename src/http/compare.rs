//! Saved estimates compared, asked differently, summed.

use std::collections::BTreeSet;

use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use chrono::Utc;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::Http;
use super::body::{object_of, read_json};
use super::page::Parameters;
use super::problem::{Problem, ProblemType};
use super::saved::{estimate_id_of, version_of};
use crate::access::Principal;
use crate::domain::object::Object;
use crate::domain::saved::{Diff, WhatIf};
use crate::pricing::{CompareError, MAX_CONSOLIDATED, Other, Report, WhatIfAnswer};

impl From<CompareError> for Problem {
    fn from(error: CompareError) -> Self {
        match error {
            CompareError::Unknown(_) => Self::new(ProblemType::NotFound, error.to_string()),
            CompareError::Invalid(invalid) => Self::with_faults(ProblemType::InvalidRequest, invalid),
            CompareError::Estimate(error) => error.into(),
            CompareError::Overflow(_) => {
                Self::new(ProblemType::UnanswerableEstimate, format!("{error}; compare smaller estimates"))
            }
        }
    }
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Between {
    /// A version.
    #[param(required, pattern = "^[1-9][0-9]{0,8}$")]
    from: Option<String>,
    /// A version, or `now`.
    #[param(required, pattern = "^([1-9][0-9]{0,8}|now)$")]
    to: Option<String>,
}

/// Why two versions, or a version and now, cost different amounts.
///
/// By configuration, by price and by discount policy; the parts add up exactly to the difference.
#[utoipa::path(
    get,
    path = "/v1/estimates/{estimate_id}/diff",
    params(("estimate_id" = Uuid, Path, description = "Of the tenant."), Between),
    responses(
        (status = 200, body = Diff, description = "both points, each line with the parts of its difference, and the totals"),
        (status = 422, description = "a line means no price any more"),
    ),
)]
pub(super) async fn diff(
    State(http): State<Http>,
    Path(id): Path<String>,
    principal: Principal,
    Parameters(between): Parameters<Between>,
) -> Result<Response, Problem> {
    let estimate_id = estimate_id_of(&id)?;
    let (Some(from), Some(to)) = (between.from, between.to) else {
        let detail = "give from, a version, and to, a version or now: ?from=1&to=now";
        return Err(Problem::new(ProblemType::InvalidRequest, detail));
    };
    let to = if to == "now" { Other::Now } else { Other::Version(version_of(&to)?) };
    let from = version_of(&from)?;
    let diff = http.pricing.estimate_diff(&principal.tenant, estimate_id, from, to, Utc::now()).await?;
    Ok(axum::Json(diff).into_response())
}

async fn read<T: DeserializeOwned>(request: Request, example: &str) -> Result<T, Problem> {
    let body = read_json(request).await?;
    object_of(&body, &format!("an object such as {example}"))
}

/// A version with something asked differently, at official prices, not saved.
#[utoipa::path(
    post,
    path = "/v1/estimates/{estimate_id}/versions/{version}/what-if",
    params(("estimate_id" = Uuid, Path, description = "Of the tenant."), ("version" = u32, Path, minimum = 1, description = "From 1.")),
    request_body(content = WhatIf, example = json!({"region": "eu-west-1", "quantity_factor": "1.5"})),
    responses(
        (status = 200, body = WhatIfAnswer, description = "the request that results, its estimate, and why it differs"),
        (status = 422, description = "a line means no price, or several"),
    ),
)]
pub(super) async fn what_if(
    State(http): State<Http>,
    Path((id, version)): Path<(String, String)>,
    principal: Principal,
    request: Request,
) -> Result<Response, Problem> {
    let (estimate_id, version) = (estimate_id_of(&id)?, version_of(&version)?);
    let asked: WhatIf = read(request, r#"{"region":"eu-west-1","quantity_factor":"1.5"}"#).await?;
    let answer =
        http.pricing.estimate_what_if(&principal.tenant, estimate_id, version, &asked, Utc::now()).await?;
    Ok(axum::Json(answer).into_response())
}

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = EstimatesToConsolidate)]
struct Wanted {
    #[schema(value_type = Vec<WantedEstimate>)]
    estimates: Vec<Object<WantedEstimate>>,
}

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = EstimateToConsolidate)]
struct WantedEstimate {
    id: Uuid,
    version: Option<i64>,
}

/// Sums several estimates into one report.
///
/// By provider, service, region and tag, for each currency.
#[utoipa::path(
    post,
    path = "/v1/estimates/consolidate",
    request_body(content = Wanted, example = json!({"estimates": [{"id": "019aa5a2-7a3c-7000-8000-000000000000", "version": 1}]})),
    responses(
        (status = 200, body = Report, description = "what was summed, and the sums"),
        (status = 404, description = "the tenant has no such estimate or version"),
        (status = 422, description = "a sum has too many digits"),
    ),
)]
pub(super) async fn consolidate(
    State(http): State<Http>,
    principal: Principal,
    request: Request,
) -> Result<Response, Problem> {
    let Wanted { estimates } = read(request, r#"{"estimates":[{"id":"...","version":1}]}"#).await?;
    let wrong = |detail: String| Err(Problem::new(ProblemType::InvalidRequest, detail));
    if estimates.is_empty() || estimates.len() > MAX_CONSOLIDATED {
        return wrong(format!("estimates: a report has 1 to {MAX_CONSOLIDATED} of them"));
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = estimates.iter().find(|Object(one)| !seen.insert(one.id)) {
        return wrong(format!(
            "estimates: {} is there twice and would count twice; give it once",
            twice.0.id
        ));
    }
    let wanted: Vec<_> = estimates.into_iter().map(|Object(one)| (one.id, one.version)).collect();
    Ok(axum::Json(http.pricing.estimates_consolidate(&principal.tenant, &wanted).await?).into_response())
}
