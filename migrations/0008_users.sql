-- People whom this service itself lets in: users with a password, and what their access tokens are renewed with.

create table users (
    user_id          uuid        not null,
    tenant           text        not null,
    name             text        not null,
    role             text        not null,
    created_at       timestamptz not null default now(),
    created_by       text        not null,
    disabled_at      timestamptz,
    password_hash    text,
    password_set_at  timestamptz,
    setup_sha256     bytea,
    setup_expires_at timestamptz,
    constraint users_user_id primary key (tenant, user_id),
    constraint users_name unique (tenant, name),
    constraint users_role check (role in ('viewer', 'analyst', 'admin', 'auditor')),
    constraint users_password check ((password_hash is null) = (password_set_at is null)),
    constraint users_setup check ((setup_sha256 is null) = (setup_expires_at is null)),
    constraint users_one_way_in check (password_hash is null or setup_sha256 is null)
);
comment on table users is 'rows stay: the name is the actor of events, and must not become another person''s';
comment on column users.password_hash is 'argon2id with its salt and its parameters, as a PHC string';
comment on column users.setup_sha256 is 'the setup token itself is shown once and kept nowhere; it has 256 random bits, so no salt';

create table logins (
    login_id     uuid        not null,
    tenant       text        not null,
    user_id      uuid        not null,
    token_sha256 bytea       not null,
    good_until   timestamptz not null,
    ends_at      timestamptz not null,
    constraint logins_login_id primary key (tenant, login_id),
    constraint logins_user foreign key (tenant, user_id) references users (tenant, user_id),
    constraint logins_sha256 check (octet_length(token_sha256) = 32),
    constraint logins_times check (good_until <= ends_at)
);
comment on table logins is 'one row a family of refresh tokens, however often they were renewed';
comment on column logins.token_sha256 is 'the family''s only good token; whoever shows another one has a stolen one, or was stolen from';
comment on column logins.good_until is 'moves with every use, never beyond ends_at';
create index logins_user on logins (tenant, user_id, good_until);

-- The second wall between tenants, as in 0003. Setup and refresh tokens name their tenant, so that nobody needs to look
-- through all tenants for whose they are.
alter table users enable row level security;
alter table users force row level security;
alter table logins enable row level security;
alter table logins force row level security;
create policy users_tenant on users to mercuriale_tenant
    using (tenant = current_tenant()) with check (tenant = current_tenant());
create policy logins_tenant on logins to mercuriale_tenant
    using (tenant = current_tenant()) with check (tenant = current_tenant());
grant select, insert on users to mercuriale_tenant;
grant update (role, disabled_at, password_hash, password_set_at, setup_sha256, setup_expires_at) on users to mercuriale_tenant;
grant select, insert, delete on logins to mercuriale_tenant;
grant update (token_sha256, good_until) on logins to mercuriale_tenant;
