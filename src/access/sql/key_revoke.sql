-- Revokes a tenant's key; a second time changes nothing, but says that it is there.
update api_keys set revoked_at = coalesce(revoked_at, now()) where tenant = $1 and key_id = $2
