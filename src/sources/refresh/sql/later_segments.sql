-- Segments of what runs that count saw after a time, in some of the stretches of price ids.
select distinct s.sha256
from observations.segments s
join refreshes.refreshes r using (refresh_id)
where s.first_price_id >> 14 = any($2) and s.observed_at > $1 and r.state in ('completed', 'released')
