-- One price.
select p.price_id, p.key, p.provider, p.service, p.region, p.sku_id, p.sku_price_id, p.unit, p.currency,
       p.tier_from, p.tier_to, s.attributes::text as attributes, p.amount, p.in_force, p.effective_at, p.position
from current_prices.prices p
join price_search.prices s using (price_id)
where p.price_id = $1
