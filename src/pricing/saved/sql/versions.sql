-- A tenant's estimate's versions, oldest first, after a version. What comes before the request is read alone, as in
-- projections/estimates/apply.sql: of a payload of megabytes not more than its start is fetched, unless there is more to it.
select e.stream_version as version, d.name, d.note, d.tags, d.archived, d.figures_of, d.summary::text as summary,
       e.recorded_at, e.actor, e.position
from tenant_events e
cross join lateral (select left(e.data::text, 65536) as payload) as start
cross join lateral (
    select case when strpos(start.payload, ',"request":{') > 0 then start.payload else e.data::text end as payload
) as enough
cross join lateral json_to_record((split_part(enough.payload, ',"request":{', 1) || '}')::json)
    as d (name text, note text, tags text[], archived boolean, figures_of bigint, summary json)
where e.stream = $1 and e.tenant = $2 and e.event_type = 'estimate.saved' and e.stream_version > $3
order by e.stream_version limit $4
