//! Answers that were given before.

use sqlx::PgExecutor;

use super::AppendError;

/// The answer recorded under an idempotency key of a tenant; `None`: the request was not carried out yet.
///
/// Asked before a request is looked at, since what it did may be why it would be refused now. The append looks again,
/// under the writers' lock.
///
/// # Errors
/// The key was used for another request, or the database failed.
pub async fn answer_recorded(
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
        None => Ok(None),
        Some((_, _, hash, answer)) if hash == request_sha256 => Ok(Some(answer)),
        Some(_) => Err(AppendError::KeyReused(key.to_owned())),
    }
}
