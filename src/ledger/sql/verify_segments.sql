-- Stored segments in the order of their hashes, after a given one.
select sha256, kind, content from observation_segments where sha256 > $1 order by sha256 limit $2
