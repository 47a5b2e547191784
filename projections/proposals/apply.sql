-- A proposal is submitted once and decided once.
-- apply: inline
-- events: proposal.submitted proposal.approved proposal.rejected
insert into proposals (proposal_id, tenant, price_id, amount, justification, evidence, state, submitted_by, submitted_at,
                       submitted_position, submitted_event_id, position)
select substr(e.stream, 10)::uuid, e.tenant, d.price_id, d.amount, d.justification, d.evidence, 'pending', e.actor,
       e.recorded_at, e.position, e.event_id, e.position
from events e
cross join lateral json_to_record(e.data) as d (price_id bigint, amount numeric, justification text, evidence jsonb)
where e.position > from_position and e.position <= to_position and e.event_type = 'proposal.submitted';

update proposals p
set state = d.decision, decided_by = d.by, decided_at = e.recorded_at, note = d.note, position = e.position
from events e
cross join lateral json_to_record(e.data) as d (decision text, by text, note text)
where e.position > from_position and e.position <= to_position
  and e.event_type in ('proposal.approved', 'proposal.rejected')
  and p.proposal_id = substr(e.stream, 10)::uuid;
