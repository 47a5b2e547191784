-- Opens a session, unless the person has as many open ones as there can be.
insert into sessions (session_id, tenant, subject, created_at, expires_at, idempotency_key, request_sha256)
select $1, $2, $3, $4, $5, $6, $7
where (select count(*) from sessions s where s.tenant = $2 and s.subject = $3 and s.expires_at > $4) < $8
returning session_id, created_at, expires_at
