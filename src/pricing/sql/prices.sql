-- Prices by what is known of them, in the order of their ids; amounts now or as of a time.
select p.price_id, p.key, p.provider, p.service, p.region, p.sku_id, p.sku_price_id, p.unit, p.currency,
       p.tier_from, p.tier_to, s.attributes::text as attributes,
       case when $6::timestamptz is null then p.amount else h.amount end as amount,
       case when $6::timestamptz is null then p.in_force else h.amount is not null end as in_force,
       case when $6::timestamptz is null then p.effective_at else h.effective_at end as effective_at,
       case when $6::timestamptz is null then p.position else h.position end as position
from price_search.prices s
join current_prices.prices p using (price_id)
left join lateral (
    select e.amount, e.effective_at, e.position
    from price_history.price_events e
    where $6::timestamptz is not null and e.price_id = s.price_id and e.effective_at <= $6
    order by e.effective_at desc, e.position desc limit 1
) as h on true
where ($1::text is null or s.provider = $1)
  and ($2::text is null or s.service = $2)
  and ($3::text is null or s.region = $3)
  and ($4::text is null or (s.names like '%' || replace(replace(replace(lower($4), '\', '\\'), '%', '\%'), '_', '\_') || '%'
       and lower(concat_ws('/', s.provider, s.service, s.region, $4)) = any(s.lookups)))
  and ($5::text is null or s.document @@ websearch_to_tsquery('simple', $5) or lower($5) <% s.names)
  and ($6::timestamptz is null or h.position is not null)
  and s.price_id > $7
order by s.price_id
limit $8
