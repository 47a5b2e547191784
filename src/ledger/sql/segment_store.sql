-- Stores a segment; another run may have stored the same one meanwhile.
insert into observation_segments (sha256, kind, content) values ($1, $2, $3) on conflict do nothing
