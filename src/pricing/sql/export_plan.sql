-- A page is planned by index, whatever the planner knows of the tables: before they are analysed for the first time it takes them
-- for small, and would sort the whole rest of a place for each page.
select set_config(name, 'off', true)
from unnest(array['enable_sort', 'enable_seqscan', 'enable_hashjoin', 'enable_mergejoin', 'jit']) as s (name)
