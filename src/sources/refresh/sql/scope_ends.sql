-- How the last run of each scope of a source ended, and how long ago.
select distinct on (scope) scope, refresh_id, state = 'failed' as failed,
       (extract(epoch from clock_timestamp() - ended_at) * 1000)::bigint as age_ms
from refreshes.refreshes
where source = $1 and scope is not null and ended_at is not null
order by scope, ended_at desc, position desc
