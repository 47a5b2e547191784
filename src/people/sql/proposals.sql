-- Proposals that a tenant may see, in the order in which they last changed; those that belong to everybody only where $2.
select proposal_id, tenant, price_id, amount, justification, evidence, state, submitted_by, submitted_at,
       submitted_position, submitted_event_id, decided_by, decided_at, note, position
from proposals.proposals
where (tenant = $1 or ($2 and tenant = $3::text))
  and ($4::uuid is null or proposal_id = $4)
  and ($5::text is null or state = $5)
  and position > $6
order by position
limit $7
