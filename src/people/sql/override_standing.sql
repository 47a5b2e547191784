-- What a decision on an override depends on: the version of the session's stream, and whether there is such a price.
select coalesce((
           select e.stream_version from events e where e.stream = $1 order by e.stream_version desc limit 1
       ), 0) as stream_version,
       exists (select from current_prices.prices p where p.price_id = $2) as is_price
