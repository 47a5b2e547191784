-- Keeps a key, unless the tenant has as many as it may.
insert into api_keys (key_id, tenant, name, prefix, secret_sha256, role, scopes, created_by, owner, expires_at)
select $1, $2, $3, $4, $5, $6, $7, $8, $9, $10
where (select count(*) from api_keys where tenant = $2 and revoked_at is null) < $11
returning key_id, name, prefix, role, scopes, created_at, created_by, owner, expires_at, revoked_at, last_used_at
