-- How far a consumer has come.
select position from consumers where name = $1
