-- One row a price: of several versions the one that started last. Prices not on record get the order in which they
-- will be listed.
create temporary table staged_chosen on commit drop as
select row_number() over (order by (p.price_id is null), s.key collate "C") as place_in_list,
       s.*, p.price_id, p.amount as official, p.in_force, p.effective_at
from (
    select distinct on (key) * from staged_prices order by key, valid_from desc nulls last
) s
left join current_prices.prices p using (key);
create index on staged_chosen (place_in_list);
create unique index staged_products_sku_id on staged_products (sku_id);
analyze staged_chosen, staged_products;
