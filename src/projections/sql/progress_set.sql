-- A following read model has come this far.
update projections set position = $2 where name = $1
