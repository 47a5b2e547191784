-- Begins a login, for $5 seconds at most, and for $6 if its token is not used; how long the token is good, in seconds.
insert into logins (login_id, tenant, user_id, token_sha256, ends_at, good_until)
select $1, $2, $3, $4, now() + $5::bigint * interval '1 second', now() + least($5::bigint, $6) * interval '1 second'
returning extract(epoch from good_until - now())::bigint
