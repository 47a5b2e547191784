-- An event is given up, for somebody to replay; the log goes on behind it.
with dead as (
    insert into webhook_dead_letters (webhook_id, tenant, position, event_id, event_type, stream, recorded_at, error)
    select w.webhook_id, w.tenant, e.position, e.event_id, e.event_type, e.stream, e.recorded_at, $3
    from webhooks w cross join events e where w.webhook_id = $1 and e.position = $2
    on conflict (webhook_id, position) do update set error = excluded.error, replay = false
)
update webhooks set position = greatest(position, $2), attempts = 0 where webhook_id = $1
