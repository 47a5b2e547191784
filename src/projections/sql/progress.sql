-- How far a following read model has come.
select position from projections where name = $1
