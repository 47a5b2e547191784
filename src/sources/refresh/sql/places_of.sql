-- Where prices belong, for the events that tell of their moves.
select price_id, provider, service, region from current_prices.prices where price_id = any($1)
