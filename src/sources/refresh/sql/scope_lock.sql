-- One run of a scope at a time; held until the connection is closed.
select pg_advisory_lock(hashtextextended('mercuriale scope ' || $1 || ' ' || $2, 0))
