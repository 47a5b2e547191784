-- Prices that moved after a position, as they are now.
select p.price_id, p.amount, p.in_force, p.effective_at
from (
    select distinct substr(e.stream, 7)::bigint as price_id
    from events e where e.position > $1 and e.event_type in ('price.changed', 'price.withdrawn', 'price.relisted')
) as m
join current_prices.prices p using (price_id)
