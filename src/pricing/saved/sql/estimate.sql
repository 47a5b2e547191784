-- A tenant's estimate as lists show it.
select estimate_id, version, name, note, tags, archived, summary::text as summary, created_at, created_by, saved_at,
       saved_by, position
from estimates.estimates
where estimate_id = $1 and tenant = $2
