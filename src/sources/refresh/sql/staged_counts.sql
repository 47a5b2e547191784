-- How many staged prices are on record, and how many are not.
select count(*) filter (where price_id is not null), count(*) filter (where price_id is null) from staged_chosen
