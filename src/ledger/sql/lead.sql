-- One leader in a task at a time on a ledger; given up when the connection ends. False: another one leads.
select pg_try_advisory_lock(hashtextextended('mercuriale ' || $1, 0))
