-- Ends a chunk of a bulk append: projects it and moves the head.
select ledger_advance($1, $2, $3, $4)
