-- A consumer has come this far, or was there already.
insert into consumers (name, position) values ($1, $2)
on conflict (name) do update set position = greatest(consumers.position, excluded.position)
