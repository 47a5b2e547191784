-- Writes a group of events at the positions after the head, and everything derived from them.
select ledger_append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
