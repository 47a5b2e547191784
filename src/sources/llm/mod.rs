//! Prices that no API lists, looked up by language models in three phases: plan, research, validate.
//!
//! What a model says is data. `config` says which prices are wanted, `chat` speaks the protocol within a budget, `phases`
//! holds the three requests and their schemas, `judge` decides what becomes of an answer, `run` is the order of things.

mod chat;
mod config;
mod judge;
mod phases;
mod run;

pub(super) use config::{Assignment, Section};
pub(super) use run::{Findings, Run};
