-- The official price of everything on record, in force or withdrawn: what refreshes compare with and estimates use.
create table prices (
    price_id     bigint      not null,
    key          text        collate "C" not null,
    provider     text        collate "C" not null,
    service      text        collate "C" not null,
    region       text        collate "C" not null,
    sku_id       text        collate "C" not null,
    sku_price_id text        collate "C" not null,
    unit         text        collate "C" not null,
    currency     text        collate "C" not null,
    tier_from    numeric     not null,
    tier_to      numeric,
    amount       numeric     not null,
    in_force     boolean     not null,
    effective_at timestamptz not null,
    position     bigint      not null,
    constraint prices_price_id primary key (price_id)
) with (fillfactor = 90);
comment on column prices.position is 'the event that set amount; effective_at is its time in the world';

-- When a price of a provider's service in a region last moved. A cache is as fresh as the ledger where nothing in the
-- place it caches has moved since it was read.
create table places (
    provider text   collate "C" not null,
    service  text   collate "C" not null,
    region   text   collate "C" not null,
    position bigint not null,
    constraint places_place primary key (provider, service, region)
);
create index places_position on places (position);

-- when filled:
alter table prices add constraint prices_key unique (key);
