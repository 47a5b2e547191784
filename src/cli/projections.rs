//! `mercuriale projections`.

use clap::Subcommand;

use super::{Exit, output};
use crate::app::App;
use crate::projections::definitions;

#[derive(Debug, Subcommand)]
pub(super) enum Projections {
    /// Read models and how far each has come
    List {
        /// One JSON object a read model
        #[arg(long)]
        json: bool,
    },
    /// Build read models anew from the log while the old ones serve
    Rebuild {
        /// Which one; all without
        name: Option<String>,
        /// Only compare: rebuild beside, and report the first difference
        #[arg(long)]
        check: bool,
    },
}

impl Projections {
    pub(super) async fn run(self, app: &App) -> anyhow::Result<Exit> {
        match self {
            Self::List { json } => {
                let progress = app.engine.list().await?;
                if json {
                    progress.iter().try_for_each(|one| output::json(one).map(|_| ()))?;
                    return Ok(Exit::Done);
                }
                let rows = progress.iter().map(|one| {
                    vec![one.name.to_owned(), one.mode.name().to_owned(), one.position.to_string()]
                });
                output::table(&["projection", "mode", "position"], rows.collect(), 2)
            }
            Self::Rebuild { name, check } => {
                let names: Vec<String> = match name {
                    Some(name) => vec![name],
                    None => definitions().iter().map(|definition| definition.name.to_owned()).collect(),
                };
                if !check {
                    let names: Vec<&str> = names.iter().map(String::as_str).collect();
                    app.engine.rebuild_all(&names).await?;
                    names
                        .iter()
                        .try_for_each(|name| output::line(&format!("{name}: rebuilt")).map(|_| ()))?;
                    return Ok(Exit::Done);
                }
                let mut exit = Exit::Done;
                for name in names {
                    match app.engine.check(&name).await? {
                        None => output::line(&format!("{name}: equal to its rebuild"))?,
                        Some(difference) => {
                            exit = Exit::Failed;
                            output::line(&format!(
                                "{name}: {} differs: {}",
                                difference.table, difference.row
                            ))?
                        }
                    };
                }
                Ok(exit)
            }
        }
    }
}
