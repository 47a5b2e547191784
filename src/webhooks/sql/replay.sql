-- Dead letters are to be tried once more.
update webhook_dead_letters set replay = true where tenant = $1 and webhook_id = $2 and not replay
