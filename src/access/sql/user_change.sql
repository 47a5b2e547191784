-- Changes a user's role, or whether they are let in; null leaves it. Who is not let in cannot set a password either.
update users
set role = coalesce($3, role),
    disabled_at = case when $4::boolean then coalesce(disabled_at, now()) when not $4 then null else disabled_at end,
    setup_sha256 = case when $4 then null else setup_sha256 end,
    setup_expires_at = case when $4 then null else setup_expires_at end
where tenant = $1 and user_id = $2
returning user_id, name, role, created_at, created_by, disabled_at, password_set_at, setup_expires_at
