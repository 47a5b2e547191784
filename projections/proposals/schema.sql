-- What somebody thinks that an official price should be, and what an administrator said to it.
create table proposals (
    proposal_id        uuid        not null,
    tenant             text        collate "C" not null,
    price_id           bigint      not null,
    amount             numeric     not null,
    justification      text        not null,
    evidence           jsonb       not null,
    state              text        collate "C" not null,
    submitted_by       text        not null,
    submitted_at       timestamptz not null,
    submitted_position bigint      not null,
    submitted_event_id uuid        not null,
    decided_by         text,
    decided_at         timestamptz,
    note               text,
    position           bigint      not null,
    constraint proposals_proposal_id primary key (proposal_id),
    constraint proposals_state check (state in ('pending', 'approved', 'rejected'))
);
comment on column proposals.position is 'the event that led to state';
create index proposals_position on proposals (position);
create index proposals_pending on proposals (tenant, position) where state = 'pending';

-- Tenants' transactions see their own rows and those that belong to everybody; the engine, as the owner, all of them.
alter table proposals enable row level security;
create policy proposals_tenant on proposals for select to mercuriale_tenant
    using (tenant = current_tenant() or tenant = 'shared');
grant select on proposals to mercuriale_tenant;
