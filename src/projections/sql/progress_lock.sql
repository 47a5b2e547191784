-- How far a following read model has come, with the right to move it.
select position from projections where name = $1 for update
