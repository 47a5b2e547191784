-- What prices are called and how they are described: finds a price by name, by attribute and by free text.
create table prices (
    price_id   bigint not null,
    provider   text   collate "C" not null,
    service    text   collate "C" not null,
    region     text   collate "C" not null,
    lookups    text[] collate "C" not null,
    names      text   collate "C" not null,
    attributes jsonb  not null,
    document   tsvector not null,
    constraint prices_price_id primary key (price_id)
);
comment on column prices.lookups is 'provider/service/region/name in lower case, for each name a price can be asked for by';

-- when filled:
create index prices_lookups on prices using gin (lookups);
create index prices_names on prices using gin (names gin_trgm_ops);
create index prices_document on prices using gin (document);
create index prices_place on prices (provider, service, region, price_id);
