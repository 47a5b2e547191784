-- Prices in force that may be meant, for several lines at once; at most $3 for each.
select q.line, c.*
from unnest($1::text[], $2::bigint[]) with ordinality as q (lookup, price_id, line)
cross join lateral (
    select p.price_id, p.key, p.provider, p.service, p.region, p.sku_id, p.sku_price_id, p.unit, p.currency,
           p.tier_from, p.tier_to, s.attributes::text as attributes, p.amount, p.effective_at, p.position
    from price_search.prices s
    join current_prices.prices p using (price_id)
    where (s.lookups @> array[q.lookup] or s.price_id = q.price_id) and p.in_force
    limit $3
) as c
