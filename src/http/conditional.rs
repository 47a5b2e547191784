//! Entity tags: versions in `ETag` and `If-Match` (RFC 9110), so that no change is lost, and `If-None-Match`, so that nothing
//! is sent twice.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

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

/// Answers with 304 where the client says that it has what it would get (RFC 9110, 13.1.2).
pub(super) async fn unless_known(request: Request, next: Next) -> Response {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let known: Vec<HeaderValue> = request.headers().get_all(header::IF_NONE_MATCH).iter().cloned().collect();
    let mut response = next.run(request).await;
    let tag = response.headers().get(header::ETAG).and_then(|tag| tag.to_str().ok());
    if !is_read || response.status() != StatusCode::OK || !tag.is_some_and(|tag| names(&known, tag)) {
        return response;
    }
    let mut headers = std::mem::take(response.headers_mut());
    for of_the_content in [header::CONTENT_TYPE, header::CONTENT_LENGTH, header::CONTENT_DISPOSITION] {
        headers.remove(of_the_content);
    }
    (StatusCode::NOT_MODIFIED, headers).into_response()
}

/// Whether a list of tags has this one, or stands for any. Tags of ours hold no comma.
fn names(known: &[HeaderValue], tag: &str) -> bool {
    let tags = known.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    tags.map(str::trim).any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_tags_names_those_in_it() {
        for (values, named) in [
            (&["\"1\""][..], true),
            (&["W/\"1\""], true),
            (&["\"2\", \"1\""], true),
            (&["\"2\"", "\"1\""], true),
            (&["*"], true),
            (&[], false),
            (&[""], false),
            (&["1"], false),
            (&["\"11\", \"2\""], false),
        ] {
            let values: Vec<HeaderValue> =
                values.iter().map(|value| HeaderValue::from_str(value).expect("a header")).collect();
            assert_eq!(names(&values, "\"1\""), named, "{values:?}");
        }
    }
}
