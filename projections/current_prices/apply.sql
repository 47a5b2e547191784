-- Listed prices come in, the last amount of each price counts, and prices withdrawn since then are no longer in force.
-- Prices and places share one look into each event, since reading JSON is most of the work.
-- apply: inline
-- events: price.listed price.changed price.withdrawn price.relisted
with listed as materialized (
    select d.price_id, d.key, d.provider, d.service, d.region, d.sku_id, d.sku_price_id, d.unit, d.currency,
           d.tier_from, d.tier_to, d.amount, e.effective_at, e.position
    from events e
    cross join lateral json_to_record(json_before_attributes(e.data)) as d (
        price_id bigint, key text, provider text, service text, region text, sku_id text, sku_price_id text, unit text,
        currency text, tier_from numeric, tier_to numeric, amount numeric
    )
    where e.position > from_position and e.position <= to_position and e.event_type = 'price.listed'
),
listed_places as (
    insert into places
    select provider, service, region, max(position) from listed group by provider, service, region
    on conflict (provider, service, region) do update set position = excluded.position
)
insert into prices
select price_id, key, provider, service, region, sku_id, sku_price_id, unit, currency, tier_from, tier_to, amount,
       true, effective_at, position
from listed;

with moves as materialized (
    select d.price_id, d.amount, d.provider, d.service, d.region, e.event_type, e.effective_at, e.position
    from events e
    cross join lateral json_to_record(e.data) as d (
        price_id bigint, amount numeric, provider text, service text, region text
    )
    where e.position > from_position and e.position <= to_position
      and e.event_type in ('price.changed', 'price.withdrawn', 'price.relisted')
),
moved_places as (
    insert into places as p
    select provider, service, region, max(position) from moves group by provider, service, region
    on conflict (provider, service, region) do update set position = greatest(p.position, excluded.position)
)
update prices p
set amount = m.amount, effective_at = m.effective_at, position = m.position, in_force = true
from (
    select distinct on (price_id) price_id, amount, effective_at, position
    from moves where event_type <> 'price.withdrawn' order by price_id, position desc
) m
where p.price_id = m.price_id;

update prices p
set in_force = false
from events e
cross join lateral json_to_record(e.data) as d (price_id bigint)
where e.position > from_position and e.position <= to_position and e.event_type = 'price.withdrawn'
  and p.price_id = d.price_id and p.position < e.position;
