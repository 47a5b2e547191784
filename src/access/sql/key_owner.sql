-- The person whom a key of a tenant acts for.
select owner from api_keys where tenant = $1 and key_id = $2
