-- A run that waits for an administrator.
select source, scope, observed_at, complete, content_sha256, unlisted_segments
from refreshes.refreshes where refresh_id = $1 and state = 'quarantined'
