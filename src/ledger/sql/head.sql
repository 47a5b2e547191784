-- The last position of the log.
select position from ledger_head
