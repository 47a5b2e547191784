-- Tables of a read model.
select table_name::text from information_schema.tables where table_schema = $1 order by table_name
