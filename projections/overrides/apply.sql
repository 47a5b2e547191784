-- Each override set is a row, which the next event of its session and price ends.
-- apply: inline
-- events: override.set override.cleared
insert into overrides (session_id, price_id, position, tenant, amount, reason, expires_at, set_by, set_at)
select substr(e.stream, 9)::uuid, d.price_id, e.position, e.tenant, d.amount, d.reason, d.expires_at, e.actor, e.recorded_at
from events e
cross join lateral json_to_record(e.data) as d (price_id bigint, amount numeric, reason text, expires_at timestamptz)
where e.position > from_position and e.position <= to_position and e.event_type = 'override.set';

update overrides o
set end_position = n.position, ended_at = n.recorded_at
from (
    select distinct on (s.session_id, s.price_id, s.position)
           s.session_id, s.price_id, s.position as set_position, e.position, e.recorded_at
    from events e
    cross join lateral json_to_record(e.data) as d (price_id bigint)
    join overrides s on s.session_id = substr(e.stream, 9)::uuid and s.price_id = d.price_id
    where e.position > from_position and e.position <= to_position
      and e.event_type in ('override.set', 'override.cleared')
      and s.end_position is null and s.position < e.position
    order by s.session_id, s.price_id, s.position, e.position
) n
where o.session_id = n.session_id and o.price_id = n.price_id and o.position = n.set_position;
