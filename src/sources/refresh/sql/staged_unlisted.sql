-- The next prices to list, with their products.
select s.key, s.provider, s.service, s.region, s.sku_id, s.sku_price_id, s.unit, s.currency, s.tier_from, s.tier_to,
       s.amount, s.attributes, s.place, p.region as product_region, p.attributes as product_attributes
from staged_chosen s
left join staged_products p on s.region is null and p.sku_id = s.sku_id
where s.price_id is null and s.place_in_list > $1
order by s.place_in_list
limit $2
