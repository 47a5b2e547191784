-- A webhook that is told of what is recorded from now on.
insert into webhooks (webhook_id, tenant, url, secret, event_types, provider, service, region, price_id, created_by,
                      position)
select $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, h.position from ledger_head h
