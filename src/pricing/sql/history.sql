-- A price's events in the order in which they were recorded, after a position.
select position, event_type, amount, cause, effective_at, recorded_at
from price_history.price_events where price_id = $1 and position > $2
order by position limit $3
