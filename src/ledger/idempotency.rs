//! Looking an answer up that was given under a caller's key.

use sqlx::PgExecutor;

use super::AppendError;

/// The answer that was kept under a tenant's key for the request with this hash, if it was carried out. An append finds it
/// as well; this is for those who would do work before they append.
///
/// # Errors
/// [`AppendError::KeyReused`] where the key was used for another request; or the database failed.
pub async fn idempotency_answer(
    executor: impl PgExecutor<'_>,
    tenant: &str,
    key: &str,
    request_sha256: &[u8; 32],
) -> Result<Option<String>, AppendError> {
    let known: Option<(String, String, Vec<u8>, String)> =
        sqlx::query_as(include_str!("sql/idempotency_find.sql"))
            .bind([tenant])
            .bind([key])
            .fetch_optional(executor)
            .await?;
    match known {
        Some((.., sha256, answer)) if sha256 == request_sha256 => Ok(Some(answer)),
        Some(_) => Err(AppendError::KeyReused(key.to_owned())),
        None => Ok(None),
    }
}
