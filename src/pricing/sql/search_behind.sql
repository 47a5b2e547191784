-- Whether the search model lacks prices that this snapshot's ledger lists.
select exists (
    select from events e
    where e.position > (select p.position from projections p where p.name = 'price_search')
      and e.event_type = 'price.listed'
)
