-- Names of the attributes that the prices of an export have, at most $6: the columns of a list come before its rows.
select distinct k.name collate "C"
from price_search.prices s
cross join lateral (
    select e.amount
    from price_history.price_events e
    where e.price_id = s.price_id and e.effective_at <= $4 and e.position <= $5
    order by e.effective_at desc, e.position desc limit 1
) as h
cross join lateral jsonb_object_keys(s.attributes) as k (name)
where s.provider = $1
  and ($2::text is null or s.service = $2)
  and ($3::text is null or s.region = $3)
  and h.amount is not null
limit $6
