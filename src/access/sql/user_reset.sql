-- Gives a user a setup token in place of the password.
update users
set password_hash = null, password_set_at = null,
    setup_sha256 = $3, setup_expires_at = now() + $4::bigint * interval '1 second'
where tenant = $1 and user_id = $2
returning user_id, name, role, created_at, created_by, disabled_at, password_set_at, setup_expires_at
