//! Reading bodies: JSON only, of a limited size, and always to the end.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, header};
use futures_util::StreamExt as _;

use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use super::MAX_BODY_BYTES;
use super::problem::{Problem, ProblemType};
use crate::access::Principal;
use crate::domain::object::Object;
use crate::people::Idempotent;

/// How much of a body that is refused is read and thrown away. A client that is still sending when the connection is
/// closed never sees the answer.
const MAX_DISCARDED_BYTES: usize = 256 << 20;

const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// The longest key.
const MAX_KEY_BYTES: usize = 255;

/// The largest body with credentials: the longest texts fit, also where each character is escaped.
const MAX_CREDENTIALS_BYTES: usize = 8 << 10;

/// The whole body of a request that says that it is JSON, or says nothing.
pub(super) async fn read_json(request: Request) -> Result<Vec<u8>, Problem> {
    read_up_to(request, MAX_BODY_BYTES, "split the estimate").await
}

/// The same of a request that anybody may send, in which little is to be said.
pub(super) async fn read_credentials(request: Request) -> Result<Vec<u8>, Problem> {
    read_up_to(request, MAX_CREDENTIALS_BYTES, "send what is asked for, and nothing else").await
}

async fn read_up_to(request: Request, limit: usize, remedy: &str) -> Result<Vec<u8>, Problem> {
    let (parts, body) = request.into_parts();
    if let Some(media_type) = other_media_type(&parts.headers) {
        discard(&parts.headers, body, 0).await;
        let detail = format!("the body is {media_type:?}; send application/json");
        return Err(Problem::new(ProblemType::UnsupportedMediaType, detail));
    }
    let too_large = || {
        let detail = format!("the body is larger than {limit} bytes; {remedy}");
        Problem::new(ProblemType::BodyTooLarge, detail)
    };
    if announced_bytes(&parts.headers).is_some_and(|bytes| bytes > limit) {
        discard(&parts.headers, body, 0).await;
        return Err(too_large());
    }
    let mut read = Vec::new();
    let mut stream = body.into_data_stream();
    while let Some(chunk) = stream.next().await {
        let Ok(chunk) = chunk else {
            let detail = "the body could not be read to its end; send it again";
            return Err(Problem::new(ProblemType::InvalidRequest, detail));
        };
        if read.len() + chunk.len() > limit {
            discard(&parts.headers, Body::from_stream(stream), read.len()).await;
            return Err(too_large());
        }
        read.extend_from_slice(&chunk);
    }
    Ok(read)
}

/// Documents what [`idempotency_key`] reads.
#[derive(utoipa::IntoParams)]
#[allow(dead_code, reason = "nobody makes one")]
#[into_params(names("idempotency-key"), parameter_in = Header)]
pub(super) struct IdempotencyKey(
    /// A request that is sent again with the same key is carried out once.
    #[param(min_length = 1, max_length = 255, pattern = "^[!-~]+$")]
    Option<String>,
);

/// The caller's `Idempotency-Key`, if there is one: a request that is sent again with it is carried out once.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let is_key = |key: &&str| {
        (1..=MAX_KEY_BYTES).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic())
    };
    let key = value.to_str().ok().filter(is_key);
    if let (Some(key), None) = (key, values.next()) {
        return Ok(Some(key.to_owned()));
    }
    let detail = format!("Idempotency-Key has to be one, of 1 to {MAX_KEY_BYTES} visible ASCII characters");
    Err(Problem::new(ProblemType::InvalidRequest, detail))
}

/// The same with the hash of all that makes the request what it is, and of who sends it: another one under the same key,
/// also of another member of the tenant, is refused.
pub(super) fn keyed<const N: usize>(
    headers: &HeaderMap,
    principal: &Principal,
    parts: [&[u8]; N],
) -> Result<Option<(String, [u8; 32])>, Problem> {
    let key = idempotency_key(headers)?;
    Ok(key.map(|key| {
        let actor = principal.actor();
        let mut hasher = Sha256::new();
        for part in [actor.as_bytes()].into_iter().chain(parts) {
            hasher.update(part.len().to_be_bytes());
            hasher.update(part);
        }
        (key, hasher.finalize().into())
    }))
}

/// The same of a request that is what it is by its path and its body.
pub(super) fn idempotent(
    headers: &HeaderMap,
    principal: &Principal,
    path: &str,
    body: &[u8],
) -> Result<Option<Idempotent>, Problem> {
    let keyed = keyed(headers, principal, [path.as_bytes(), body])?;
    Ok(keyed.map(|(key, request_sha256)| Idempotent { key, request_sha256 }))
}

/// A small JSON object, described by `example` where it is refused. An empty body stands for an empty object.
pub(super) fn json_of<T: DeserializeOwned>(body: &[u8], example: &str) -> Result<T, Problem> {
    object_of(if body.is_empty() { b"{}" } else { body }, example)
}

/// The same where there has to be one.
pub(super) fn object_of<T: DeserializeOwned>(body: &[u8], example: &str) -> Result<T, Problem> {
    let read = serde_json::from_slice(body).map(|Object(read)| read);
    read.map_err(|error| Problem::new(ProblemType::InvalidRequest, format!("{error}; send {example}")))
}

fn other_media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().unwrap_or_default();
    let media_type = value.split(';').next().unwrap_or_default().trim();
    (!media_type.eq_ignore_ascii_case("application/json")).then(|| media_type.chars().take(100).collect())
}

fn announced_bytes(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Reads on without keeping anything, unless the client waits for a word before it sends.
async fn discard(headers: &HeaderMap, body: Body, mut read: usize) {
    if headers.contains_key(header::EXPECT) && read == 0 {
        return;
    }
    let mut stream = body.into_data_stream();
    while let Some(Ok(chunk)) = stream.next().await {
        read = read.saturating_add(chunk.len());
        if read > MAX_DISCARDED_BYTES {
            return;
        }
    }
}
