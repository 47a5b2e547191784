-- When prices were last taken out of force or put back.
select distinct on (price_id) price_id, effective_at
from price_history.price_events
where price_id = any($1) and event_type in ('price.withdrawn', 'price.relisted')
order by price_id, position desc
