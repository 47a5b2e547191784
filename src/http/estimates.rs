//! Estimates.

use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use chrono::Utc;

use super::Http;
use super::body::read_json;
use super::problem::{Problem, ProblemType};
use crate::access::Principal;
use crate::domain::estimate::request_parse;
use crate::pricing::EstimateError;

/// `POST /v1/estimates/calculate`: an estimate that is not saved.
pub(super) async fn calculate(
    State(http): State<Http>,
    principal: Principal,
    request: Request,
) -> Result<Response, Problem> {
    let body = read_json(request).await?;
    let request =
        request_parse(&body).map_err(|invalid| Problem::with_faults(ProblemType::InvalidRequest, invalid))?;
    let estimate = http.pricing.estimate_calculate_for(Some(&principal), &request, Utc::now()).await?;
    Ok(axum::Json(estimate).into_response())
}

impl From<EstimateError> for Problem {
    fn from(error: EstimateError) -> Self {
        match error {
            EstimateError::Unanswerable(invalid) => {
                Self::with_faults(ProblemType::UnanswerableEstimate, invalid)
            }
            EstimateError::Pricing(error) => error.into(),
        }
    }
}
