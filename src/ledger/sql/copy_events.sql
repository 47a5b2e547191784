-- Events of a bulk append, in binary: COPY is several times faster than INSERT.
copy events (position, event_id, stream, stream_version, event_type, recorded_at, effective_at, actor, tenant,
             correlation_id, causation_id, data, leaf_hash)
from stdin with (format binary)
