-- A webhook as its deliverer needs it, and whether the event at hand is due.
select webhook_id, tenant, url, secret, event_types, provider, service, region, price_id, position, attempts,
       next_attempt_at is null or next_attempt_at <= clock_timestamp() as is_due
from webhooks where webhook_id = $1 and disabled_why is null
