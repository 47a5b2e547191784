-- The discount policy in force at a time; none set: the built-in one.
select version, rates::text from discount_policies.policies
where $1::timestamptz is null or effective_at <= $1
order by version desc limit 1
