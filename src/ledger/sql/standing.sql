-- The head, and the versions of the streams to be written, as of one snapshot and without the writers' lock.
select h.position, greatest(h.recorded_at, clock_timestamp()), array(
    select coalesce((
        select e.stream_version from events e
        where e.stream = s.stream order by e.stream_version desc limit 1
    ), 0)
    from unnest($1::text[]) with ordinality as s (stream, place)
    order by s.place
)
from ledger_head h
