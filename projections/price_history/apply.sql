-- Every price event becomes a row. An operator for each field is quicker than json_to_record for so few of them.
-- apply: inline
-- events: price.listed price.changed price.withdrawn price.relisted
insert into price_events
select substr(e.stream, 7)::bigint, e.effective_at, e.position, e.recorded_at, e.event_type,
       (case when e.event_type = 'price.listed' then json_before_attributes(e.data) else e.data end ->> 'amount')::numeric,
       case when e.event_type <> 'price.listed' then e.data ->> 'cause' end
from events e
where e.position > from_position and e.position <= to_position
  and e.event_type in ('price.listed', 'price.changed', 'price.withdrawn', 'price.relisted');
