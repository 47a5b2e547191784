-- What tells this ledger from others that share a cache or a bus.
select ledger_id from ledger_head
