-- Segments that may hold an observation of a price, after a position; the number is that of schema.sql.
select position, refresh_id, observed_at, sha256
from observations.segments
where (first_price_id >> 14) = ($1 >> 14) and $1 between first_price_id and last_price_id and position > $2
order by position limit $3
