-- Saved estimates, as lists show them: the last version of each. What a version holds is read from its event.
create table estimates (
    estimate_id uuid        not null,
    tenant      text        collate "C" not null,
    version     bigint      not null,
    name        text        not null,
    note        text,
    tags        text[]      not null,
    archived    boolean     not null,
    summary     jsonb       not null,
    created_at  timestamptz not null,
    created_by  text        not null,
    saved_at    timestamptz not null,
    saved_by    text        not null,
    position    bigint      not null,
    constraint estimates_estimate_id primary key (estimate_id)
);
comment on column estimates.position is 'the event of the last version';
create index estimates_of_tenant on estimates (tenant, position);

-- Tenants' transactions see their own rows; the engine, as the owner, all of them.
alter table estimates enable row level security;
create policy estimates_tenant on estimates for select to mercuriale_tenant using (tenant = current_tenant());
grant select on estimates to mercuriale_tenant;
