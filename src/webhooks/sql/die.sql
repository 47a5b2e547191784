-- An event is given up, for somebody to replay; the log goes on behind it.
with dead as (
    insert into webhook_dead_letters (webhook_id, tenant, position, error)
    select w.webhook_id, w.tenant, $2, $3 from webhooks w where w.webhook_id = $1
    on conflict (webhook_id, position) do update set error = excluded.error, replay = false
)
update webhooks set position = greatest(position, $2), attempts = 0 where webhook_id = $1
