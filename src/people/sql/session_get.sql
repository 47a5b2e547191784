-- A session, for its subject alone.
select session_id, created_at, expires_at from sessions where session_id = $1 and tenant = $2 and subject = $3
