-- A version of a tenant's estimate; where none is named, the last one.
select e.stream_version, e.position, e.recorded_at, e.actor, e.data::text as data
from tenant_events e
where e.stream = $1 and e.tenant = $2 and e.event_type = 'estimate.saved'
  and ($3::bigint is null or e.stream_version = $3)
order by e.stream_version desc limit 1
