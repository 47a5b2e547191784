-- A read model was built.
insert into projections (name, mode, event_types, sql_sha256, position) values ($1, $2, $3, $4, $5)
on conflict (name) do update
set mode = excluded.mode, event_types = excluded.event_types, sql_sha256 = excluded.sql_sha256,
    position = excluded.position
