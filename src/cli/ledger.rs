//! `mercuriale ledger`.

use clap::Subcommand;

use super::{Exit, output};
use crate::app::App;
use crate::ledger::Tail;
use crate::ledger::verify::verify;

/// Events read at a time.
const BATCH: i64 = 500;

#[derive(Debug, Subcommand)]
pub(super) enum Ledger {
    /// Print events as they are recorded, one JSON object a line, until interrupted
    Tail {
        /// Start after this position
        #[arg(long, default_value_t = 0)]
        after: i64,
    },
    /// Check positions, stream versions, hashes and observation segments of the whole log
    Verify,
}

impl Ledger {
    pub(super) async fn run(self, app: &App) -> anyhow::Result<Exit> {
        match self {
            Self::Tail { after } => {
                let mut tail = Tail::new(app.pool.clone(), after, BATCH).await?;
                loop {
                    for event in tail.next().await? {
                        output::json(&event)?;
                    }
                }
            }
            Self::Verify => {
                let verified = verify(&app.pool).await?;
                output::line(&format!(
                    "the ledger is sound: {} events, {} observation segments",
                    verified.events, verified.segments
                ))
            }
        }
    }
}
