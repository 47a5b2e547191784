//! Estimates.

use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use chrono::Utc;

use super::Http;
use super::body::read_json;
use super::problem::{Problem, ProblemType};
use crate::access::Principal;
use crate::domain::arithmetic::Estimate;
use crate::domain::estimate::{RequestText, request_parse};
use crate::pricing::EstimateError;

/// An estimate that is not saved.
///
/// Every line means exactly one price, or the answer says what is wrong where.
#[utoipa::path(
    post,
    path = "/v1/estimates/calculate",
    request_body(content = RequestText, example = json!({
        "lines": [{
            "label": "web", "provider": "aws", "service": "AmazonEC2", "region": "eu-west-3", "resource": "t3.medium",
            "quantity": "3", "pricing_model": "reserved-1y",
        }],
    })),
    responses(
        (status = 200, body = Estimate),
        (status = 422, description = "a line means no price, or several"),
    ),
)]
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
