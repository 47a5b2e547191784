-- A refresh starts, ends in one of three ways, and may be released from quarantine.
-- apply: inline
-- events: refresh.started refresh.completed refresh.failed refresh.quarantined refresh.released
insert into refreshes (refresh_id, source, scope, observed_at, state, origin, started_at, position)
select substr(e.stream, 9)::uuid, d.source, d.scope, d.observed_at, 'started', d.origin, e.recorded_at, e.position
from events e
cross join lateral json_to_record(e.data) as d (source text, scope text, observed_at timestamptz, origin text[])
where e.position > from_position and e.position <= to_position and e.event_type = 'refresh.started';

update refreshes r
set state = split_part(e.event_type, '.', 2),
    ended_at = e.recorded_at,
    scope = coalesce(d.scope, r.scope),
    observed_at = coalesce(d.observed_at, r.observed_at),
    complete = d.complete,
    reason = d.reason,
    content_sha256 = d.content_sha256,
    observed = d.observed,
    listed = d.listed,
    changed = d.changed,
    unchanged = d.unchanged,
    within_threshold = d.within_threshold,
    not_observed = d.not_observed,
    withdrawn = d.withdrawn,
    relisted = d.relisted,
    not_observed_ids = d.not_observed_ids,
    unlisted_segments = d.unlisted_segments,
    source_version = d.source_version,
    etag = d.etag,
    research = d.research,
    position = e.position
from events e
cross join lateral json_to_record(e.data) as d (
    scope text, observed_at timestamptz, complete boolean, reason text, content_sha256 text, observed bigint,
    listed bigint, changed bigint, unchanged bigint, within_threshold bigint, not_observed bigint, withdrawn bigint,
    relisted bigint, not_observed_ids int8multirange, unlisted_segments text[], source_version text, etag text,
    research jsonb
)
where e.position > from_position and e.position <= to_position
  and e.event_type in ('refresh.completed', 'refresh.failed', 'refresh.quarantined')
  and r.refresh_id = substr(e.stream, 9)::uuid;

update refreshes r
set state = 'released',
    released_at = e.recorded_at,
    released_by = e.actor,
    observed = d.observed,
    listed = d.listed,
    changed = d.changed,
    unchanged = d.unchanged,
    within_threshold = d.within_threshold,
    not_observed = d.not_observed,
    withdrawn = d.withdrawn,
    relisted = d.relisted,
    not_observed_ids = d.not_observed_ids,
    position = e.position
from events e
cross join lateral json_to_record(e.data) as d (
    observed bigint, listed bigint, changed bigint, unchanged bigint, within_threshold bigint, not_observed bigint,
    withdrawn bigint, relisted bigint, not_observed_ids int8multirange
)
where e.position > from_position and e.position <= to_position and e.event_type = 'refresh.released'
  and r.refresh_id = substr(e.stream, 9)::uuid;
