-- The last version of each estimate counts; the first one says who made it and when. What comes before the request is read
-- alone, since a breakdown may have megabytes: within a text, quotes are escaped, so no text holds what is split at.
-- apply: inline
-- events: estimate.saved
with saved as (
    select e.*, first_value(e.recorded_at) over by_version as created_at,
           first_value(e.actor) over by_version as created_by,
           row_number() over (partition by e.stream order by e.stream_version desc) as place
    from events e
    where e.position > from_position and e.position <= to_position and e.event_type = 'estimate.saved'
    window by_version as (partition by e.stream order by e.stream_version)
)
insert into estimates as known
select substr(s.stream, 10)::uuid, s.tenant, s.stream_version, d.name, d.note, d.tags, d.archived, d.summary,
       s.created_at, s.created_by, s.recorded_at, s.actor, s.position
from saved s
cross join lateral json_to_record((split_part(s.data::text, ',"request":{', 1) || '}')::json)
    as d (name text, note text, tags text[], archived boolean, summary jsonb)
where s.place = 1
on conflict (estimate_id) do update
set version = excluded.version, name = excluded.name, note = excluded.note, tags = excluded.tags,
    archived = excluded.archived, summary = excluded.summary, saved_at = excluded.saved_at,
    saved_by = excluded.saved_by, position = excluded.position;
