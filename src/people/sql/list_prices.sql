-- The official prices of those that are in force.
select price_id, amount from current_prices.prices where price_id = any($1) and in_force
