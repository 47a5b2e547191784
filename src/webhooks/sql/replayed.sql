-- A dead letter was delivered.
delete from webhook_dead_letters where webhook_id = $1 and position = $2
