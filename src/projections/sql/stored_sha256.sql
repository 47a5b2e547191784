-- Hash of the SQL that a read model was built with.
select sql_sha256 from projections where name = $1
