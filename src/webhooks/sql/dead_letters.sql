-- What could not be delivered, in the order of the log.
select position, event_id, event_type, stream, recorded_at, died_at, error, replay as replaying
from webhook_dead_letters
where tenant = $1 and webhook_id = $2 and position > $3
order by position limit $4
