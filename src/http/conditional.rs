//! Entity tags: versions in `ETag` and `If-Match` (RFC 9110), so that no change is lost.

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;

use super::problem::{Problem, ProblemType};

/// The answer with a strong entity tag.
pub(super) fn with_etag(mut response: Response, tag: &str) -> Response {
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{tag}\"")) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// The version of `what` in `If-Match`, which has to be one strong entity tag (RFC 9110, 13.1.1).
pub(super) fn version_expected(headers: &HeaderMap, what: &str) -> Result<u64, Problem> {
    let mut values = headers.get_all(header::IF_MATCH).iter();
    let Some(value) = values.next() else {
        let detail = format!(
            "send If-Match with the ETag of the {what} that you decided on, so that no change is lost"
        );
        return Err(Problem::new(ProblemType::PreconditionRequired, detail));
    };
    let tag = value.to_str().ok().and_then(|tag| tag.trim().strip_prefix('"')?.strip_suffix('"'));
    let version = tag.and_then(|version| version.parse().ok()).filter(|version| *version > 0);
    version.filter(|_| values.next().is_none()).ok_or_else(|| {
        let detail = format!(
            "If-Match is not an ETag of the {what}: send it as it came, such as \"1\", with its quotes"
        );
        Problem::new(ProblemType::InvalidRequest, detail)
    })
}
