-- The same as of a time in the world, as far as a position of the ledger knows: each price with its last event up to
-- then, if that was not a withdrawal.
select q.line, c.*
from unnest($1::text[], $2::bigint[]) with ordinality as q (lookup, price_id, line)
cross join lateral (
    select p.price_id, p.key, p.provider, p.service, p.region, p.sku_id, p.sku_price_id, p.unit, p.currency,
           p.tier_from, p.tier_to, s.attributes::text as attributes, h.amount, h.effective_at, h.position
    from price_search.prices s
    join current_prices.prices p using (price_id)
    cross join lateral (
        select e.amount, e.effective_at, e.position
        from price_history.price_events e
        where e.price_id = s.price_id and e.effective_at <= $4 and e.position <= $5
        order by e.effective_at desc, e.position desc limit 1
    ) as h
    where (s.lookups @> array[q.lookup] or s.price_id = q.price_id) and h.amount is not null
    limit $3
) as c
