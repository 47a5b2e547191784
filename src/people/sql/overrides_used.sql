-- The overrides of a session that held at a position of the log; with $5, of those the ones that applied at that time.
select price_id, amount, reason, expires_at, position
from overrides.overrides
where session_id = $1 and tenant = $2 and position <= $3
  and case
      when $5::timestamptz is null then end_position is null or end_position > $3
      else set_at <= $5 and (end_position is null or end_position > $3 or ended_at > $5)
  end
  and (expires_at is null or expires_at > coalesce($5, $4::timestamptz))
