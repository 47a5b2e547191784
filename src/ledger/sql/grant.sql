-- Rights that a copy or a restored dump of the database has lost: the owner works as the program's role, and projections
-- are schemas of their own, which the program makes and drops.
do $$
begin
    if not pg_has_role(current_user, 'mercuriale_app', 'member') then
        execute format('grant mercuriale_app to %I', current_user);
    end if;
    execute format('grant create on database %I to mercuriale_app', current_database());
end
$$
