-- One row per price event, never changed: the price at any time is an index look-up.
create table price_events (
    price_id     bigint      not null,
    effective_at timestamptz not null,
    position     bigint      not null,
    recorded_at  timestamptz not null,
    event_type   text        collate "C" not null,
    amount       numeric,
    cause        text        collate "C"
);
comment on column price_events.amount is 'the official price from then on; null where it was withdrawn';

-- when filled:
alter table price_events add constraint price_events_price_id primary key (price_id, effective_at, position);
