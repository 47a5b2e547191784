-- Overrides of a session that apply now; of all prices or one, after a price id.
select price_id, amount, reason, expires_at, set_at, position
from overrides.overrides
where session_id = $1 and tenant = $2 and end_position is null
  and (expires_at is null or expires_at > $3)
  and ($4::bigint is null or price_id = $4) and price_id > $5
order by price_id
limit $6
