-- Whose rows this transaction sees, see migrations/0005_webhooks.sql.
select set_config('mercuriale.tenant', $1, true)
