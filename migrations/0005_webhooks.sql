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
    error      text        not null,
    died_at    timestamptz not null default clock_timestamp(),
    replay     boolean     not null default false,
    constraint webhook_dead_letters_position primary key (webhook_id, position)
);
-- No reference to events: nothing that operates the log may stand in the way of its own rules.
create index webhook_dead_letters_replay on webhook_dead_letters (webhook_id, position) where replay;

-- The second wall between tenants: a transaction sees the tenant that it names, and none unless it names one. The
-- deliverer names all of them: no tenant can be called '*'.
alter table webhooks enable row level security;
alter table webhook_dead_letters enable row level security;
create policy webhooks_of_tenant on webhooks
    using (current_setting('mercuriale.tenant', true) in (tenant, '*'));
create policy webhook_dead_letters_of_tenant on webhook_dead_letters
    using (current_setting('mercuriale.tenant', true) in (tenant, '*'));

grant select, insert, update, delete on webhooks, webhook_dead_letters to mercuriale_app;
