-- What keys are narrowed to below their role, and which person each acts for.

alter table api_keys add column scopes text[];
alter table api_keys add constraint api_keys_scopes check (cardinality(scopes) > 0);
comment on column api_keys.scopes is 'null: all that the role may';

alter table api_keys add column owner text;
comment on column api_keys.owner is 'who made the key, or the key that made it, and so on: never a key';
-- Whoever owns the table is otherwise shown none of it.
alter table api_keys no force row level security;
with recursive owned (tenant, key_id, owner) as (
    select tenant, key_id, created_by from api_keys where created_by not like 'key:%'
    union all
    select k.tenant, k.key_id, o.owner
    from api_keys k
    join owned o on o.tenant = k.tenant and k.created_by = 'key:' || o.key_id
)
update api_keys k set owner = o.owner from owned o where o.key_id = k.key_id;
alter table api_keys force row level security;
alter table api_keys alter column owner set not null;
