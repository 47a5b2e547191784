-- Every refresh and what became of it.
create table refreshes (
    refresh_id         uuid        not null,
    source             text        collate "C" not null,
    scope              text        collate "C",
    state              text        collate "C" not null,
    origin             text[]      not null,
    started_at         timestamptz not null,
    ended_at           timestamptz,
    observed_at        timestamptz,
    complete           boolean,
    reason             text,
    content_sha256     text        collate "C",
    observed           bigint,
    listed             bigint,
    changed            bigint,
    unchanged          bigint,
    within_threshold   bigint,
    not_observed       bigint,
    withdrawn          bigint,
    relisted           bigint,
    not_observed_ids   int8multirange,
    unlisted_segments  text[],
    source_version     text        collate "C",
    etag               text        collate "C",
    research           jsonb,
    released_at        timestamptz,
    released_by        text,
    position           bigint      not null,
    constraint refreshes_refresh_id primary key (refresh_id),
    constraint refreshes_state check (state in ('started', 'completed', 'failed', 'quarantined', 'released'))
);
comment on column refreshes.position is 'the event that led to state; refreshes of a scope are ordered by observed_at';
create index refreshes_scope on refreshes (source, scope, observed_at);
create index refreshes_position on refreshes (position);
