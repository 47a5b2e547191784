-- One rebuild of a read model at a time, until the connection is closed.
select pg_advisory_lock(hashtextextended('mercuriale projection ' || $1, 0))
