-- The user who comes in with a name and a password, and what the password is verified with.
select user_id, password_hash from users
where tenant = $1 and name = $2 and password_hash is not null and disabled_at is null
