-- The last run of a scope that is on record, with what its source said of the list.
select refresh_id, complete, content_sha256, source_version, etag
from refreshes.refreshes
where source = $1 and scope = $2 and state in ('completed', 'released')
order by observed_at desc, position desc
limit 1
