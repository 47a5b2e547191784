-- A tenant's estimates that match all that is given, in the order in which they were last saved.
select estimate_id, version, name, note, tags, archived, summary::text as summary, created_at, created_by, saved_at,
       saved_by, position
from estimates.estimates
where tenant = $1 and position > $2
  and ($3::text is null
       or lower(name) like '%' || replace(replace(replace(lower($3), '\', '\\'), '%', '\%'), '_', '\_') || '%')
  and ($4::text is null or tags @> array[$4])
  and ($5::boolean is null or archived = $5)
order by position limit $6
