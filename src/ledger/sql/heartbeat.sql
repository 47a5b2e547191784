-- A leader's sign of life.
select 1
