-- How many proposals of a tenant wait.
select count(*) from proposals.proposals where tenant = $1 and state = 'pending'
