-- Takes the writers' lock and reads the head and the versions of the streams to be written.
select head, recorded_at, versions from ledger_lock($1)
