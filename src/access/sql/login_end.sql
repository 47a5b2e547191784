-- Ends a login; whose it was, and whether it was going on and the token that is shown is not its token any more.
delete from logins where tenant = $1 and login_id = $2
returning user_id, good_until > now() and token_sha256 <> $3 as is_reuse
