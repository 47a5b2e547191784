-- The session that was opened under an idempotency key.
select session_id, created_at, expires_at, request_sha256 from sessions where tenant = $1 and idempotency_key = $2
