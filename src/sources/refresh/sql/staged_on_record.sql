-- Staged prices that are on record though the scope was not known to show them.
select price_id, official, in_force, effective_at, amount from staged_chosen where price_id is not null
