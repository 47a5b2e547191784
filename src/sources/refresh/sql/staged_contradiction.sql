-- A price that the list states twice, for the same time, with different amounts.
select key, min(amount)::text, max(amount)::text, max(place)
from staged_prices group by key, valid_from having min(amount) <> max(amount)
order by key limit 1
