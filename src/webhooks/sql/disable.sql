-- The target does not want to be told any more.
update webhooks set disabled_why = $2 where webhook_id = $1
