-- The next events after a position, of the wanted types and stream, that a tenant may see: at least one, then as many as
-- a number of bytes as stored holds, since a saved estimate may have megabytes. The last one says whether others were left
-- out for that.
select position, event_id, stream, stream_version, event_type, recorded_at, effective_at, actor, tenant,
       correlation_id, causation_id, data::text as data, leaf_hash, has_next
from (
    select next.*, sum(pg_column_size(data)) over place - pg_column_size(data) as bytes_before,
           lead(position) over place is not null as has_next
    from (
        select * from events
        where position > $1
          and ($2::text[] is null or event_type = any($2))
          and ($3::text is null or stream = $3)
          and ($5::text is null or tenant = $5 or tenant = $6::text)
        order by position
        limit $4
    ) next
    window place as (order by position)
) counted
where bytes_before < $7
order by position
