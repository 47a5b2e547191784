-- A dead letter could not be delivered this time either.
update webhook_dead_letters set replay = false, error = $3, died_at = clock_timestamp()
where webhook_id = $1 and position = $2
