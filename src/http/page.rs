//! Query strings and pages.

use axum::extract::FromRequestParts;
use axum::extract::Query;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::problem::{Problem, ProblemType};
use crate::pricing::{MAX_PAGE, Page};

/// Rows of a page where the request does not say.
const DEFAULT_PAGE: i64 = 100;
/// The longest text of a parameter, in bytes.
const MAX_TEXT_BYTES: usize = 500;

/// A query string; unknown parameters are refused.
#[derive(Debug)]
pub(super) struct Parameters<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Query(parameters) = Query::<T>::from_request_parts(parts, state)
            .await
            .map_err(|error| Problem::new(ProblemType::InvalidRequest, error.body_text()))?;
        Ok(Self(parameters))
    }
}

/// The parameters of a page.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Paging {
    /// Where the page before ended: follow its `Link` header.
    #[param(minimum = 0)]
    pub(super) after: Option<i64>,
    /// Rows of the page; 100 where it is left out.
    #[param(minimum = 1, maximum = 500)]
    pub(super) limit: Option<i64>,
}

/// The same of things in a state.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PagingByState {
    /// Only those of this state.
    #[param(example = "")]
    pub(super) state: Option<String>,
    /// Where the page before ended: follow its `Link` header.
    #[param(minimum = 0)]
    pub(super) after: Option<i64>,
    /// Rows of the page; 100 where it is left out.
    #[param(minimum = 1, maximum = 500)]
    pub(super) limit: Option<i64>,
}

/// Checks `limit` and `after`.
pub(super) fn page_of(limit: Option<i64>, after: Option<i64>) -> Result<(i64, i64), Problem> {
    let limit = limit.unwrap_or(DEFAULT_PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        let detail = format!("limit={limit}: a page has 1 to {MAX_PAGE} rows");
        return Err(Problem::new(ProblemType::InvalidRequest, detail));
    }
    let after = after.unwrap_or(0);
    if after < 0 {
        let detail = "after: follow the Link header of the page before, or leave it out".to_owned();
        return Err(Problem::new(ProblemType::InvalidRequest, detail));
    }
    Ok((limit, after))
}

/// Checks a text parameter.
pub(super) fn text_of(name: &str, text: Option<String>) -> Result<Option<String>, Problem> {
    match text {
        Some(text) if text.len() > MAX_TEXT_BYTES || text.contains('\0') => {
            let detail = format!("{name}: a text has at most {MAX_TEXT_BYTES} bytes, none of them NUL");
            Err(Problem::new(ProblemType::InvalidRequest, detail))
        }
        Some(text) if text.is_empty() => Ok(None),
        text => Ok(text),
    }
}

/// Checks a `state`; `what` is in one of `states`.
pub(super) fn state_of(
    what: &str,
    state: Option<String>,
    states: &[&str],
) -> Result<Option<String>, Problem> {
    let state = text_of("state", state)?;
    if let Some(state) = state.as_deref().filter(|state| !states.contains(state)) {
        let detail = format!("state={state}: {what} is one of {}", states.join(", "));
        return Err(Problem::new(ProblemType::InvalidRequest, detail));
    }
    Ok(state)
}

/// A page with a `Link` to the next one.
pub(super) fn paged<T: Serialize>(uri: &Uri, page: &Page<T>) -> Response {
    let mut response = axum::Json(page).into_response();
    if let Some(after) = page.next_after {
        let kept = uri
            .query()
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty() && pair.split('=').next() != Some("after"));
        let query: Vec<String> = kept.map(str::to_owned).chain([format!("after={after}")]).collect();
        let link = format!("<{}?{}>; rel=\"next\"", uri.path(), query.join("&"));
        if let Ok(link) = HeaderValue::from_str(&link) {
            response.headers_mut().insert(header::LINK, link);
        }
    }
    response
}

/// A list that is always whole, as a page that is the last one.
pub(super) fn whole<T: Serialize>(items: Vec<T>) -> Response {
    axum::Json(Page { items, next_after: None }).into_response()
}

/// What was made at a place, with a secret that nobody is told again.
pub(super) fn shown_once(status: StatusCode, location: String, made: impl Serialize) -> Response {
    let headers = [(header::LOCATION, location), (header::CACHE_CONTROL, "no-store".to_owned())];
    (status, headers, axum::Json(made)).into_response()
}

/// The problem of a path that names nothing.
pub(super) fn not_found(what: &str, id: &str) -> Problem {
    Problem::new(ProblemType::NotFound, format!("there is no {what} {id:?}"))
}
