-- Prices of a list that are not as on record, as they are read.
copy staged_prices (key, provider, service, region, sku_id, sku_price_id, unit, currency, tier_from, tier_to, amount,
                    valid_from, attributes, place)
from stdin
