-- Runs of a scope that were cut off: started, never ended, and nobody holds the scope's lock but we.
select refresh_id from refreshes.refreshes
where source = $1 and scope = $2 and state = 'started' and refresh_id <> $3
order by started_at
