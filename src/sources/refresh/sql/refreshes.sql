-- Refreshes in the order in which they last changed, after a position, or one of them.
select refresh_id, source, scope, state, origin, started_at, ended_at, observed_at, complete, reason, content_sha256,
       observed, listed, changed, unchanged, within_threshold, not_observed, withdrawn, relisted, released_at,
       released_by, source_version, etag, research, position
from refreshes.refreshes
where position > $1 and ($2::uuid is null or refresh_id = $2) and ($3::text is null or state = $3)
order by position limit $4
