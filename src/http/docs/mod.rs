//! The API's description: as an `OpenAPI` document, and as a page to browse it on.
//!
//! The page comes whole from this service: no font, script or validator of another host.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use axum::body::Bytes;
use axum::extract::Path;
use axum::http::{HeaderName, header};
use axum::response::{IntoResponse as _, Response};

use super::openapi;
use super::page::not_found;
use super::problem::Problem;

/// The same for every request.
static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| {
    let document = openapi::document(super::routes());
    Bytes::from(serde_json::to_vec(&document).expect("a document is JSON"))
});

/// Swagger UI sets styles of elements from its script.
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
                              img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
                              frame-ancestors 'none'";

/// For what changes with a release only.
const FOR_AN_HOUR: (HeaderName, &str) = (header::CACHE_CONTROL, "public, max-age=3600");
const AS_IT_SAYS: (HeaderName, &str) = (header::X_CONTENT_TYPE_OPTIONS, "nosniff");

/// This description, as `OpenAPI` 3.1.
#[utoipa::path(get, path = "/openapi.json", responses((status = 200, body = Object)))]
pub(super) async fn document() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT.clone()).into_response()
}

/// A page to browse this description on.
#[utoipa::path(get, path = "/docs", responses((status = 200, body = str, content_type = "text/html; charset=utf-8")))]
pub(super) async fn page() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, CONTENT_POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        AS_IT_SAYS,
    ];
    (headers, include_str!("page.html")).into_response()
}

/// What the page is made of.
#[utoipa::path(
    get,
    path = "/docs/{file}",
    params(("file" = String, Path, description = "that the page names",
            pattern = "^(start\\.js|swagger-ui-bundle\\.js|swagger-ui\\.css)$")),
    responses((status = 200, content(
        (str = "text/css; charset=utf-8"),
        (str = "text/javascript; charset=utf-8"),
    ))),
)]
pub(super) async fn asset(Path(file): Path<String>) -> Result<Response, Problem> {
    let (content_type, bytes) = match file.as_str() {
        "start.js" => ("text/javascript; charset=utf-8", Cow::Borrowed(include_str!("start.js").as_bytes())),
        "swagger-ui-bundle.js" => ("text/javascript; charset=utf-8", of_swagger_ui(&file)?),
        "swagger-ui.css" => ("text/css; charset=utf-8", of_swagger_ui(&file)?),
        _ => return Err(not_found("file", &file)),
    };
    Ok(([(header::CONTENT_TYPE, content_type), FOR_AN_HOUR, AS_IT_SAYS], bytes).into_response())
}

fn of_swagger_ui(file: &str) -> Result<Cow<'static, [u8]>, Problem> {
    let config = Arc::new(utoipa_swagger_ui::Config::from("openapi.json"));
    match utoipa_swagger_ui::serve(file, config) {
        Ok(Some(served)) => Ok(served.bytes),
        Ok(None) => Err(not_found("file", file)),
        Err(error) => {
            tracing::error!(%error, file, "a file of Swagger UI cannot be served");
            Err(Problem::internal())
        }
    }
}
