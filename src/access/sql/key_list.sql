-- A tenant's keys, newest first; those before one of them.
select key_id, name, prefix, role, scopes, created_at, created_by, owner, expires_at, revoked_at, last_used_at
from api_keys
where tenant = $1
order by key_id desc
limit $2
