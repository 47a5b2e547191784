-- Stored read models: the SQL they were built with, and how far each has come.
select name, sql_sha256,
       case mode when 'inline' then (select h.position from ledger_head h) else position end as position
from projections order by name
