-- Keeps answers with the events they belong to.
insert into idempotency_keys (tenant, key, request_sha256, response, recorded_at)
select r.tenant, r.key, r.request_sha256, r.response, $5
from unnest($1::text[], $2::text[], $3::bytea[], $4::text[]) as r (tenant, key, request_sha256, response)
