-- Notes that a key was used, at most once a minute.
update api_keys set last_used_at = now()
where key_id = $1 and (last_used_at is null or last_used_at < now() - interval '1 minute')
