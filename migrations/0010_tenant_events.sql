-- The second wall between tenants, as in 0003, for the log itself: what a tenant's transactions see of it.

-- A view rather than row-level security on the log, which would keep the program's role from using COPY.
create view tenant_events with (security_barrier) as
    select * from events where tenant = current_tenant() or tenant = 'shared';
grant select on tenant_events to mercuriale_tenant;
