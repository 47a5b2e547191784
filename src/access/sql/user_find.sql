-- Who a user of a tenant is, until the transaction has decided on them.
select name, role, disabled_at is not null as is_disabled from users where tenant = $1 and user_id = $2 for no key update
