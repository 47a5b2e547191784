-- The log: an append-only, gapless, hashed sequence of events, and what operates it.

-- The program works as this role, which may add to the log and read it, and may not change it. Roles belong to the
-- whole server, so another database's migration may have made it, perhaps at this very moment.
do $$
begin
    if not exists (select from pg_roles where rolname = 'mercuriale_app') then
        create role mercuriale_app nologin;
    end if;
exception when duplicate_object or unique_violation then
    null;
end
$$;

create extension if not exists pg_trgm;

create table events (
    position        bigint      not null,
    event_id        uuid        not null,
    stream          text        collate "C" not null,
    stream_version  bigint      not null,
    event_type      text        collate "C" not null,
    recorded_at     timestamptz not null,
    effective_at    timestamptz not null,
    actor           text        not null,
    tenant          text        not null,
    correlation_id  uuid        not null,
    causation_id    uuid,
    data            json        not null,
    leaf_hash       bytea       not null,
    constraint events_position primary key (position),
    constraint events_event_id unique (event_id),
    constraint events_stream_version unique (stream, stream_version),
    constraint events_position_from_one check (position >= 1),
    constraint events_stream_version_from_one check (stream_version >= 1),
    constraint events_leaf_hash_sha256 check (octet_length(leaf_hash) = 32)
);
comment on table events is 'the log; rows are added in position order, by one writer at a time, and never change';

-- One row. Its lock serialises writers, so commit order is position order and a reader that has seen position n has
-- seen every position before n. The id tells this ledger from others that share a cache or a bus.
create table ledger_head (
    only_row    boolean     primary key default true check (only_row),
    ledger_id   uuid        not null default gen_random_uuid(),
    position    bigint      not null check (position >= 0),
    recorded_at timestamptz not null
) with (fillfactor = 10);
insert into ledger_head (position, recorded_at) values (0, '-infinity');

-- What refreshes saw, stored once under its hash: see src/ledger/segments.rs for the two kinds of content.
create table observation_segments (
    sha256  bytea not null,
    kind    text  not null,
    content bytea not null,
    constraint observation_segments_sha256 primary key (sha256),
    constraint observation_segments_hash check (octet_length(sha256) = 32),
    constraint observation_segments_kind check (kind in ('observations', 'listings'))
);
-- The content is compressed already.
alter table observation_segments alter column content set storage external;

-- The answer to a request that must not be carried out twice, kept with the events it caused.
create table idempotency_keys (
    tenant         text        not null,
    key            text        not null,
    request_sha256 bytea       not null,
    response       text        not null,
    recorded_at    timestamptz not null,
    constraint idempotency_keys_key primary key (tenant, key)
);

create function refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '% of % is refused: the ledger is append-only', tg_op, tg_table_name
        using errcode = 'insufficient_privilege';
end
$$;

create trigger events_append_only before update or delete or truncate on events
    for each statement execute function refuse_change();
create trigger observation_segments_append_only before update or delete or truncate on observation_segments
    for each statement execute function refuse_change();
create trigger ledger_head_stays before delete or truncate on ledger_head
    for each statement execute function refuse_change();
-- Also for the owner, and also where replication has set triggers aside.
alter table events enable always trigger events_append_only;
alter table observation_segments enable always trigger observation_segments_append_only;
alter table ledger_head enable always trigger ledger_head_stays;

-- The read models that exist, and how far each has come. `inline` ones are at the head of the log by construction.
create table projections (
    name        text   not null,
    mode        text   not null,
    event_types text[] not null,
    sql_sha256  bytea  not null,
    position    bigint not null,
    constraint projections_name primary key (name),
    constraint projections_mode check (mode in ('inline', 'following'))
);
comment on column projections.position is 'following: last event applied; inline: last event of the last rebuild';

-- Takes the writers' lock. The statements after the lock see what the writer before has committed, since each
-- statement of a volatile function takes a snapshot of its own.
create function ledger_lock(streams text[], out head bigint, out recorded_at timestamptz, out versions bigint[])
language plpgsql as $$
begin
    select h.position, greatest(h.recorded_at, clock_timestamp()) into head, recorded_at
    from ledger_head h for update;
    versions := array(
        select coalesce((
            select e.stream_version from events e
            where e.stream = s.stream order by e.stream_version desc limit 1
        ), 0)
        from unnest(streams) with ordinality as s (stream, place)
        order by s.place
    );
end
$$;

-- The fields before "attributes" of a price.listed event, where attributes come last, as this program writes them; any
-- other document as it is. Attributes are two thirds of the text, and PostgreSQL reads JSON letter by letter, so whoever
-- does not need them saves half of the time. Only an object can end in }}, and there is no other object in the event;
-- within a text, quotes are escaped.
create function json_before_attributes(data json) returns json language sql stable parallel safe as $$
    select case
        when substring(convert_to(data::text, 'UTF8') from octet_length(data::text) - 1) = '}}'
            and octet_length(split_part(data::text, ',"attributes":{', 1)) < octet_length(data::text)
        then (split_part(data::text, ',"attributes":{', 1) || '}')::json
        else data
    end
$$;

-- Folds new events into the read models that must agree with the log at every commit.
create function projections_apply_inline(from_position bigint, to_position bigint, types text[]) returns void
language plpgsql as $$
declare
    projection text;
begin
    for projection in
        select p.name from projections p where p.mode = 'inline' and p.event_types && types order by p.name
    loop
        execute format('select %I.apply($1, $2)', projection) using from_position, to_position;
    end loop;
end
$$;

-- Ends an append: (from_position, to_position] must be whole, then becomes visible with everything derived from it.
create function ledger_advance(from_position bigint, to_position bigint, at timestamptz, types text[]) returns void
language plpgsql as $$
begin
    perform projections_apply_inline(from_position, to_position, types);
    update ledger_head h set position = to_position, recorded_at = at where h.position = from_position;
    if not found then
        raise exception 'the head of the ledger is not at %', from_position;
    end if;
    if (select count(*) from events e where e.position > from_position and e.position <= to_position)
        <> to_position - from_position then
        raise exception 'the events after % do not fill the positions up to %', from_position, to_position;
    end if;
    perform pg_notify('mercuriale_ledger', to_position::text);
end
$$;

-- Appends a small batch in one round trip, if the head is at from_position; otherwise nothing happens but error 40001,
-- and the caller, who may have worked this out without the lock, has to do so again. Bulk appends COPY into the table
-- and call ledger_advance.
create function ledger_append(
    from_position bigint, at timestamptz, types text[],
    event_ids uuid[], streams text[], stream_versions bigint[], event_types text[], effective_ats timestamptz[],
    actors text[], tenants text[], correlation_ids uuid[], causation_ids uuid[], datas text[], leaf_hashes bytea[]
) returns void
language plpgsql as $$
begin
    perform from ledger_head h where h.position = from_position for update;
    if not found then
        raise exception 'the head of the ledger is not at %', from_position using errcode = 'serialization_failure';
    end if;
    insert into events
    select from_position + n.place, n.event_id, n.stream, n.stream_version, n.event_type, at, n.effective_at,
           n.actor, n.tenant, n.correlation_id, n.causation_id, n.data::json, n.leaf_hash
    from unnest(event_ids, streams, stream_versions, event_types, effective_ats, actors, tenants, correlation_ids,
                causation_ids, datas, leaf_hashes)
         with ordinality as n (event_id, stream, stream_version, event_type, effective_at, actor, tenant,
                               correlation_id, causation_id, data, leaf_hash, place);
    perform ledger_advance(from_position, from_position + cardinality(event_ids), at, types);
end
$$;

grant usage on schema public to mercuriale_app;
grant select, insert on events, observation_segments, idempotency_keys to mercuriale_app;
grant select on ledger_head to mercuriale_app;
grant update (position, recorded_at) on ledger_head to mercuriale_app;
grant select, insert, update, delete on projections to mercuriale_app;
