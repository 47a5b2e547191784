-- Where the ledger stands, the policy in force there, and what moved since: one statement, so one snapshot.
select h.position, d.version, d.rates,
       array(select concat_ws('/', p.provider, p.service, p.region) from current_prices.places p where p.position > $1)
           as moved_places,
       array(select p.position from current_prices.places p where p.position > $1) as moved_positions
from ledger_head h
left join lateral (
    select version, rates::text as rates from discount_policies.policies order by version desc limit 1
) as d on true
