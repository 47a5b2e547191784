-- Forgets a user's logins that are over, and of the others those that were not used for longest, beyond $3.
delete from logins l
where l.tenant = $1 and l.user_id = $2
  and (l.good_until <= now() or l.login_id in (
      select o.login_id from logins o
      where o.tenant = $1 and o.user_id = $2
      order by o.good_until desc, o.login_id
      offset $3
  ))
