-- What a list shows beyond the prices its scope is known to have. Temporary: gone with the connection.
create temporary table staged_products (sku_id text, region text, attributes text);
create temporary table staged_prices (
    key text, provider text, service text, region text, sku_id text, sku_price_id text, unit text, currency text,
    tier_from numeric, tier_to numeric, amount numeric, valid_from timestamptz, attributes text, place text
);
