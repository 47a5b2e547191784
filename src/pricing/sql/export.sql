-- The next prices of a place, in the order of the index prices_place, with what they were as of a time as far as a position of
-- the ledger knows, if they were in force. Nothing that a later event says is looked at, so pages that are read at different
-- times fit together.
select p.price_id, p.key, p.provider, p.service, p.region, p.sku_id, p.sku_price_id, p.unit, p.currency,
       p.tier_from, p.tier_to, s.attributes::text as attributes, h.amount, h.effective_at, h.position
from (
    select n.price_id, n.service, n.region, n.attributes
    from price_search.prices n
    where n.provider = $1
      and ($2::text is null or n.service = $2)
      and ($3::text is null or n.region = $3)
      and (n.service, n.region, n.price_id) > ($6, $7, $8)
    order by n.service, n.region, n.price_id
    limit $9
) as s
join current_prices.prices p using (price_id)
left join lateral (
    select e.amount, e.effective_at, e.position
    from price_history.price_events e
    where e.price_id = s.price_id and e.effective_at <= $4 and e.position <= $5
    order by e.effective_at desc, e.position desc limit 1
) as h on true
order by s.service, s.region, s.price_id
