-- A segment's compressed content.
select content from observation_segments where sha256 = $1
