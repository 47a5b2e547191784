-- Official prices by ranges of price ids, both ends included.
select p.price_id, p.key, p.amount, p.in_force, p.effective_at
from unnest($1::bigint[], $2::bigint[]) as r (first, last)
join current_prices.prices p on p.price_id between r.first and r.last
