-- How far those who follow the log from outside the database have come.

create table consumers (
    name     text   not null,
    position bigint not null check (position >= 0),
    constraint consumers_name primary key (name)
);
grant select, insert, update on consumers to mercuriale_app;
