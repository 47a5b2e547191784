-- Webhooks of a tenant, or one of them; never their secrets.
select w.webhook_id, w.url, w.event_types, w.provider, w.service, w.region, w.price_id, w.created_at, w.created_by,
       w.disabled_why, w.position, w.attempts, w.failing_since, w.next_attempt_at, w.last_error,
       (select count(*) from webhook_dead_letters d where d.webhook_id = w.webhook_id) as dead_letters
from webhooks w
where w.tenant = $1 and ($2::uuid is null or w.webhook_id = $2)
order by w.created_at, w.webhook_id
