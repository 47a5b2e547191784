-- Everything up to a position is done; $3 says whether something was delivered, so that a failure is over.
update webhooks
set position = greatest(position, $2), attempts = 0, next_attempt_at = null,
    failing_since = case when $3 then null else failing_since end,
    last_error = case when $3 then null else last_error end
where webhook_id = $1
