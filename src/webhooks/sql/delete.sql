-- A webhook goes, with its dead letters.
delete from webhooks where tenant = $1 and webhook_id = $2
