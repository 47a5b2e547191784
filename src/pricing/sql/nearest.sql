-- Names in a place that resemble one.
select n.name
from (
    select names, lookups from price_search.prices
    where provider = $1 and service = $2 and region = $3 and $4 <% names
    order by word_similarity($4, names) desc, price_id limit 200
) as s
cross join lateral unnest(s.lookups) as l (lookup)
cross join lateral (select substr(l.lookup, $5) as name) as n
group by n.name
order by similarity(n.name, $4) desc, n.name limit 5
