-- Keys of programs, and the second wall between tenants: row-level security, for all tables that belong to them.

-- The role in which tenants' tables are read and written. Unlike the program's own, it sees only the rows of the tenant
-- that `mercuriale.tenant` names in the transaction, and none where nothing is named.
do $$
begin
    if not exists (select from pg_roles where rolname = 'mercuriale_tenant') then
        create role mercuriale_tenant nologin;
    end if;
exception when duplicate_object or unique_violation then
    null;
end
$$;
do $$
begin
    if not pg_has_role('mercuriale_app', 'mercuriale_tenant', 'member') then
        grant mercuriale_tenant to mercuriale_app;
    end if;
end
$$;
grant usage on schema public to mercuriale_tenant;

-- The tenant of the transaction; null, which equals nothing, where there is none.
create function current_tenant() returns text language sql stable parallel safe as $$
    select nullif(current_setting('mercuriale.tenant', true), '')
$$;

create table api_keys (
    key_id       uuid        not null,
    tenant       text        not null,
    name         text        not null,
    prefix       text        not null,
    secret_sha256 bytea      not null,
    role         text        not null,
    created_at   timestamptz not null default now(),
    created_by   text        not null,
    expires_at   timestamptz,
    revoked_at   timestamptz,
    last_used_at timestamptz,
    constraint api_keys_key_id primary key (key_id),
    constraint api_keys_secret unique (secret_sha256),
    constraint api_keys_sha256 check (octet_length(secret_sha256) = 32),
    constraint api_keys_role check (role in ('viewer', 'analyst', 'admin', 'auditor'))
);
comment on column api_keys.secret_sha256 is 'the key itself is shown once and kept nowhere; it has 256 random bits, so no salt';
comment on column api_keys.prefix is 'the beginning of the key, to recognise it by';
create index api_keys_of_tenant on api_keys (tenant, key_id);

alter table api_keys enable row level security;
alter table api_keys force row level security;
create policy api_keys_tenant on api_keys to mercuriale_tenant
    using (tenant = current_tenant()) with check (tenant = current_tenant());
-- Whose key it is, is not known before it has been found.
create policy api_keys_authentication on api_keys for select to mercuriale_app using (true);
create policy api_keys_use on api_keys for update to mercuriale_app using (true) with check (true);
grant select, insert on api_keys to mercuriale_tenant;
grant update (revoked_at) on api_keys to mercuriale_tenant;
grant select on api_keys to mercuriale_app;
grant update (last_used_at) on api_keys to mercuriale_app;
