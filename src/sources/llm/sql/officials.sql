-- Official prices of keys, in force or withdrawn, with the events that set them.
select key, price_id, amount, in_force, position from current_prices.prices where key = any($1)
