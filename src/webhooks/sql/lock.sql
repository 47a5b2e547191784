-- Webhooks of a tenant are counted and added by one request at a time.
select pg_advisory_xact_lock(hashtextextended('mercuriale webhooks ' || $1, 0))
