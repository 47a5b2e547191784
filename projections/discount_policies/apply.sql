-- Every policy set is a version.
-- apply: inline
-- events: discount_policy.set
insert into policies
select e.stream_version + 1, d.rates, e.effective_at, e.position
from events e
cross join lateral json_to_record(e.data) as d (rates jsonb)
where e.position > from_position and e.position <= to_position and e.event_type = 'discount_policy.set';
