-- Every observed stretch becomes a row.
-- apply: inline
-- events: prices.observed
insert into segments
select d.first_price_id, d.last_price_id, e.position, substr(e.stream, 9)::uuid, e.effective_at, d.count,
       decode(d.segment, 'hex')
from events e
cross join lateral json_to_record(e.data) as d (first_price_id bigint, last_price_id bigint, count bigint, segment text)
where e.position > from_position and e.position <= to_position and e.event_type = 'prices.observed';
