-- What could not be delivered, in the order of the log.
select d.position, e.event_id, e.event_type, e.stream, e.recorded_at, d.died_at, d.error, d.replay as replaying
from webhook_dead_letters d
join events e on e.position = d.position
where d.tenant = $1 and d.webhook_id = $2 and d.position > $3
order by d.position limit $4
