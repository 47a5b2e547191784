-- Sets a user's first password, if the setup token is still good; it is not after that.
update users
set password_hash = $4, password_set_at = now(), setup_sha256 = null, setup_expires_at = null
where tenant = $1 and user_id = $2 and setup_sha256 = $3 and setup_expires_at > now() and disabled_at is null
