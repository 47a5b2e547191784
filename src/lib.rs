//! Mercuriale: an event-sourced ledger of cloud prices.
//!
//! See docs/ARCHITECTURE.md for the map. Arrows between modules run one way:
//! `domain <- ledger <- projections <- pricing <- http, cli`, `sources, access -> ledger, domain` and
//! `pricing -> people -> access`.

pub mod access;
pub mod app;
pub mod bus;
pub mod cache;
pub mod cli;
pub mod config;
pub mod domain;
pub mod embedded;
pub mod http;
pub mod ledger;
pub mod people;
pub mod pricing;
pub mod projections;
pub mod sources;
pub mod telemetry;
pub mod webhooks;
