-- A tenant's users, newest first, also those who are disabled.
select user_id, name, role, created_at, created_by, disabled_at, password_set_at, setup_expires_at
from users
where tenant = $1
order by user_id desc
limit $2
