-- Which of these segments are stored.
select sha256 from observation_segments where sha256 = any($1)
