-- Keeps a user, unless the tenant has as many as it may; those who are disabled count, since they stay.
insert into users (user_id, tenant, name, role, created_by, setup_sha256, setup_expires_at)
select $1, $2, $3, $4, $5, $6, now() + $7::bigint * interval '1 second'
where (select count(*) from users where tenant = $2) < $8
returning user_id, name, role, created_at, created_by, disabled_at, password_set_at, setup_expires_at
