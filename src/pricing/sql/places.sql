-- Places of which prices are known.
select provider, service, region from current_prices.places order by provider, service, region
