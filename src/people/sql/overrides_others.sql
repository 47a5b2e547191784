-- How many overrides of other prices apply in a session now.
select count(*) from overrides.overrides
where session_id = $1 and tenant = $2 and price_id <> $3 and end_position is null
  and (expires_at is null or expires_at > $4)
