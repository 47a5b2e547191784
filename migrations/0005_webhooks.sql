-- Who is told of events over HTTP, how far each has come, and what could not be delivered.

create table webhooks (
    webhook_id      uuid        not null,
    tenant          text        not null,
    url             text        not null,
    secret          bytea       not null,
    event_types     text[],
    provider        text,
    service         text,
    region          text,
    price_id        bigint,
    created_at      timestamptz not null default clock_timestamp(),
    created_by      text        not null,
    disabled_why    text,
    position        bigint      not null check (position >= 0),
    attempts        integer     not null default 0,
    failing_since   timestamptz,
    next_attempt_at timestamptz,
    last_error      text,
    constraint webhooks_webhook_id primary key (webhook_id),
    constraint webhooks_secret_bytes check (octet_length(secret) = 32)
);
create index webhooks_tenant on webhooks (tenant, webhook_id);
comment on column webhooks.secret is 'signs deliveries, so it is needed as it is; shown once, when the webhook is made';
comment on column webhooks.position is 'every event up to here was delivered, is a dead letter, or was not wanted';
comment on column webhooks.attempts is 'failed ones of the event at hand, the next wanted one after position';

create table webhook_dead_letters (
    webhook_id uuid        not null references webhooks on delete cascade,
    tenant     text        not null,
    position   bigint      not null,
    event_id   uuid        not null,
    event_type text        not null,
    stream     text        not null,
    recorded_at timestamptz not null,
    error      text        not null,
    died_at    timestamptz not null default clock_timestamp(),
    replay     boolean     not null default false,
    constraint webhook_dead_letters_position primary key (webhook_id, position)
);
-- No reference to events: nothing that operates the log may stand in the way of its own rules.
create index webhook_dead_letters_replay on webhook_dead_letters (webhook_id, position) where replay;

-- The second wall between tenants, as in 0003. The deliverer works for all of them, as the program's own role, and it alone
-- can read secrets.
alter table webhooks enable row level security;
alter table webhooks force row level security;
alter table webhook_dead_letters enable row level security;
alter table webhook_dead_letters force row level security;
create policy webhooks_tenant on webhooks to mercuriale_tenant
    using (tenant = current_tenant()) with check (tenant = current_tenant());
create policy webhooks_delivery on webhooks to mercuriale_app using (true) with check (true);
create policy webhook_dead_letters_tenant on webhook_dead_letters to mercuriale_tenant
    using (tenant = current_tenant()) with check (tenant = current_tenant());
create policy webhook_dead_letters_delivery on webhook_dead_letters to mercuriale_app using (true) with check (true);
grant select (webhook_id, tenant, url, event_types, provider, service, region, price_id, created_at, created_by,
              disabled_why, position, attempts, failing_since, next_attempt_at, last_error) on webhooks to mercuriale_tenant;
grant insert, delete on webhooks to mercuriale_tenant;
grant select, update (replay) on webhook_dead_letters to mercuriale_tenant;
-- A webhook begins where the log ends.
grant select (position) on ledger_head to mercuriale_tenant;
grant select, update on webhooks to mercuriale_app;
grant select, insert, update, delete on webhook_dead_letters to mercuriale_app;
