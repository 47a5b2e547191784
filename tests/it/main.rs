//! Tests against real servers. `make test` starts them; a missing one is a failure, not a skip.

mod access;
mod administer;
mod bus;
mod cache;
mod cli;
mod crash;
mod estimates;
mod events;
mod freshness;
mod http;
mod keys;
mod ledger;
mod lists;
mod live_aws;
mod live_azure;
mod live_cli;
mod live_real;
mod program;
mod projections;
mod provider;
mod refresh;
mod refresh_model;
mod schedule;
mod service;
mod sql;
mod support;
