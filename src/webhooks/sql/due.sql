-- Webhooks with something to do, those first that have waited longest; $1 is the head of the log, $2 those at work.
select w.webhook_id
from webhooks w
where w.disabled_why is null and w.webhook_id <> all($2)
  and (
      w.position < $1 and (w.next_attempt_at is null or w.next_attempt_at <= clock_timestamp())
      or exists (select from webhook_dead_letters d where d.webhook_id = w.webhook_id and d.replay)
  )
order by w.next_attempt_at nulls first, w.position limit $3
