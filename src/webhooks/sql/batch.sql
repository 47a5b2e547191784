-- The next events of a stretch of the log that a tenant may see, of the wanted types. Payloads too large for a request
-- are left out and referred to.
select position, event_id, stream, event_type, recorded_at,
       case when octet_length(data::text) <= $7 then data::text end as data
from events
where position > $1 and position <= $2 and ($3::text[] is null or event_type = any($3)) and tenant in ($4, $5)
order by position limit $6
