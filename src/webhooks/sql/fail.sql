-- An attempt failed: the next one comes later. Says since how many milliseconds nothing could be delivered, and how many
-- dead letters there are.
update webhooks w
set attempts = attempts + 1, failing_since = coalesce(failing_since, clock_timestamp()), last_error = $2,
    next_attempt_at = clock_timestamp() + make_interval(secs => $3::double precision / 1000)
where webhook_id = $1
returning (extract(epoch from clock_timestamp() - failing_since) * 1000)::bigint as failing_ms,
          (select count(*) from webhook_dead_letters d where d.webhook_id = w.webhook_id) as dead_letters
