-- Dead letters that are to be tried once more.
select e.position, e.event_id, e.stream, e.event_type, e.recorded_at,
       case when octet_length(e.data::text) <= $3 then e.data::text end as data
from webhook_dead_letters d
join events e on e.position = d.position
where d.webhook_id = $1 and d.replay order by d.position limit $2
