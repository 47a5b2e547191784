-- How many webhooks a tenant has.
select count(*) from webhooks where tenant = $1
