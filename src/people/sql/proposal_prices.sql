-- The official prices of proposals when they were submitted and now; null where a price was withdrawn.
select (
           select h.amount from price_history.price_events h
           where h.price_id = q.price_id and h.position < q.position order by h.position desc limit 1
       ),
       (
           select case when c.in_force then c.amount end from current_prices.prices c where c.price_id = q.price_id
       )
from unnest($1::bigint[], $2::bigint[]) with ordinality as q (price_id, position, place)
order by q.place
