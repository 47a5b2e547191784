-- Ends all logins of a user.
delete from logins where tenant = $1 and user_id = $2
