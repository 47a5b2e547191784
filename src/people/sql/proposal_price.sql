-- A price as a proposal finds it: version of its stream, place, and the official amount.
select p.provider, p.service, p.region, p.amount, p.in_force, e.stream_version, e.position
from current_prices.prices p
cross join lateral (
    select stream_version, position from events where stream = 'price/' || p.price_id order by stream_version desc limit 1
) as e
where p.price_id = $1
