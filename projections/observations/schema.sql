-- Which segment holds what a refresh saw of a stretch of prices.
create table segments (
    first_price_id bigint      not null,
    last_price_id  bigint      not null,
    position       bigint      not null,
    refresh_id     uuid        not null,
    observed_at    timestamptz not null,
    count          bigint      not null,
    sha256         bytea       not null,
    constraint segments_position primary key (position)
);
-- Segments are cut at multiples of 16384 price ids (src/ledger/segments.rs), so a price is in those of one number.
create index segments_number on segments ((first_price_id >> 14), position);
create index segments_refresh_id on segments (refresh_id);
