-- Sessions: who calculates with prices of their own, and until when. The overrides are events; a session is not, since
-- nothing is left of it that anybody would have to prove.

create table sessions (
    session_id      uuid        not null,
    tenant          text        not null,
    subject         text        not null,
    created_at      timestamptz not null,
    expires_at      timestamptz not null,
    idempotency_key text,
    request_sha256  bytea,
    constraint sessions_session_id primary key (session_id),
    constraint sessions_idempotency_key unique (tenant, idempotency_key),
    constraint sessions_request check ((idempotency_key is null) = (request_sha256 is null)),
    constraint sessions_times check (expires_at > created_at)
);
comment on column sessions.session_id is 'random; who knows it still needs to be its subject to use it';
create index sessions_subject on sessions (tenant, subject, expires_at);

alter table sessions enable row level security;
alter table sessions force row level security;
create policy sessions_tenant on sessions to mercuriale_tenant
    using (tenant = current_tenant()) with check (tenant = current_tenant());
grant select, insert, delete on sessions to mercuriale_tenant;
