-- Products of a list, as they are read.
copy staged_products (sku_id, region, attributes) from stdin
