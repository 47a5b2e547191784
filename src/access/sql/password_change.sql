-- Replaces a password, if the one that was verified still is the user's.
update users set password_hash = $4, password_set_at = now()
where tenant = $1 and user_id = $2 and password_hash = $3 and disabled_at is null
