-- Runs of a scope that count, newest first, back to the third last complete one: as far as a withdrawal looks.
select refresh_id, state, complete, observed_at, coalesce(not_observed_ids, '{}')::text as not_observed_ids
from refreshes.refreshes
where source = $1 and scope = $2 and state in ('completed', 'released', 'quarantined')
  and observed_at >= coalesce((
      select observed_at from refreshes.refreshes
      where source = $1 and scope = $2 and state in ('completed', 'released') and complete
      order by observed_at desc offset 2 limit 1
  ), '-infinity')
order by observed_at desc, position desc
