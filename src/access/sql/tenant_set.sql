-- Names the tenant of a transaction, for row-level security; forgotten at its end.
select set_config('mercuriale.tenant', $1, true)
