-- Whether a setup token is good.
select exists (
    select from users
    where tenant = $1 and user_id = $2 and setup_sha256 = $3 and setup_expires_at > now() and disabled_at is null
)
