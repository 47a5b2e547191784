-- One opening of a tenant's sessions at a time.
select pg_advisory_xact_lock(hashtextextended('mercuriale sessions ' || $1::text, 0))
