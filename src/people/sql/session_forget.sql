-- Sessions that have been over for so long that nobody will ask why they no longer work.
delete from sessions where tenant = $1 and subject = $2 and expires_at < $3
