-- The discount rates that administrators set. Version 1 is built in (src/domain/discounts.rs); the first one set is 2.
create table policies (
    version      bigint      not null,
    rates        jsonb       not null,
    effective_at timestamptz not null,
    position     bigint      not null,
    constraint policies_version primary key (version)
);
