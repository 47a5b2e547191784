-- Answers already given under these keys.
select k.tenant, k.key, k.request_sha256, k.response
from unnest($1::text[], $2::text[]) as r (tenant, key)
join idempotency_keys k using (tenant, key)
