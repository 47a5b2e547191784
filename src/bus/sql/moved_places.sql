-- Places in which prices moved after a position.
select concat_ws('/', provider, service, region) from current_prices.places where position > $1 and position <= $2
