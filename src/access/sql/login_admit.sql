-- The role of a user, if the password that was verified still is theirs; nobody changes that before the login has begun.
select role from users
where tenant = $1 and user_id = $2 and password_hash = $3 and disabled_at is null
for share
