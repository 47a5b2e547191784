-- Every override of a session, with when it ended, so that what applied can be read at any position of the log.
create table overrides (
    session_id   uuid        not null,
    price_id     bigint      not null,
    position     bigint      not null,
    tenant       text        collate "C" not null,
    amount       numeric     not null,
    reason       text        not null,
    expires_at   timestamptz,
    set_by       text        not null,
    set_at       timestamptz not null,
    ended_at     timestamptz,
    end_position bigint,
    constraint overrides_position primary key (session_id, price_id, position),
    constraint overrides_end check (end_position > position)
);
comment on column overrides.position is 'the event that set it; end_position: the one that cleared or replaced it';

-- Tenants' transactions see their own rows; the engine, as the owner, all of them.
alter table overrides enable row level security;
create policy overrides_tenant on overrides for select to mercuriale_tenant using (tenant = current_tenant());
grant select on overrides to mercuriale_tenant;
