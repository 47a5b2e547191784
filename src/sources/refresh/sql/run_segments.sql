-- Segments of what a run observed.
select sha256 from observations.segments where refresh_id = $1 order by first_price_id
