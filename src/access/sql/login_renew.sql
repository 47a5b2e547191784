-- Gives a login its next token, if the one that is shown is its token; whose it is, in which role now. Of two at once, the
-- second waits here for the first, and finds another token.
update logins l
set token_sha256 = $4, good_until = least(l.ends_at, now() + $5::bigint * interval '1 second')
from users u
where l.tenant = $1 and l.login_id = $2 and l.token_sha256 = $3 and l.good_until > now()
  and u.tenant = l.tenant and u.user_id = l.user_id and u.disabled_at is null
returning u.name, u.role, extract(epoch from l.good_until - now())::bigint as seconds
