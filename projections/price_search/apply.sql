-- Names come from the attributes in which providers put them: instance type, usage type (also without its region's
-- prefix), ARM SKU name (also without "Standard_"), meter, SKU, group and identifiers.
-- apply: following
-- events: price.listed
insert into prices
select d.price_id, d.provider, d.service, d.region,
       array(select lower(concat_ws('/', d.provider, d.service, d.region, n.name)) from unnest(n.names) as n (name)),
       array_to_string(n.names, ' '),
       d.attributes,
       to_tsvector('simple', left(concat_ws(' ', d.provider, d.service, d.region, array_to_string(n.names, ' '),
           (select string_agg(a.value, ' ' order by a.key) from jsonb_each_text(d.attributes) as a)), 20000))
from events e
cross join lateral json_to_record(e.data) as d (
    price_id bigint, key text, provider text, service text, region text, sku_id text, sku_price_id text,
    attributes jsonb
)
cross join lateral (
    select array(
        select distinct lower(v.name) collate "C" from (values
            (d.attributes ->> 'instanceType'),
            (d.attributes ->> 'usagetype'),
            (regexp_replace(d.attributes ->> 'usagetype', '^[A-Z]+[0-9]*-', '')),
            (d.attributes ->> 'armSkuName'),
            (regexp_replace(d.attributes ->> 'armSkuName', '^Standard_', '')),
            (d.attributes ->> 'meterName'),
            (d.attributes ->> 'skuName'),
            (d.attributes ->> 'group'),
            (d.sku_id),
            (d.sku_price_id),
            (d.key)
        ) as v (name)
        where v.name <> ''
        order by 1
    ) as names
) as n
where e.position > from_position and e.position <= to_position and e.event_type = 'price.listed';
