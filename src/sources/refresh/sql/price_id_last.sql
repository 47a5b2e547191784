-- The last price id given out. Read under the writers' lock.
select coalesce(max(price_id), 0) from current_prices.prices
