-- The key with this hash, if it is still good; and whether its use has not been noted for a while.
select key_id, tenant, role, scopes, owner, expires_at,
       last_used_at is null or last_used_at < now() - interval '1 minute' as is_to_note
from api_keys
where secret_sha256 = $1 and revoked_at is null and (expires_at is null or expires_at > now())
