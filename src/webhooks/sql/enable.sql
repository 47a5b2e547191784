-- A webhook that was disabled goes on where it was.
update webhooks set disabled_why = null, attempts = 0, failing_since = null, next_attempt_at = null
where tenant = $1 and webhook_id = $2 and disabled_why is not null
