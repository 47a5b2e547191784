-- Whether no run of a scope is under way: its lock is to be had, and is given back at the end of the statement.
select pg_try_advisory_xact_lock(hashtextextended('mercuriale scope ' || $1 || ' ' || $2, 0))
