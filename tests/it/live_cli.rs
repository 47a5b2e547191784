//! Sources on the command line: what is fetched, printed and answered, and what a wrong file leads to.

use std::process::Output;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Command;

use crate::provider::{Provider, borrowed, cents, offer_file};
use crate::support::{Database, JWT_SECRET};

fn sources(provider: &Provider) -> String {
    format!(
        "[[source]]\nname = \"paris\"\nkind = \"aws\"\nbase_url = \"{0}\"\noffers = [\"AmazonEC2\"]\n\
         regions = [\"eu-west-3\"]\n\n[[source]]\nname = \"nowhere\"\nkind = \"azure\"\nbase_url = \"{0}\"\n",
        provider.url
    )
}

fn program(database: &Database, sources: &std::path::Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mercuriale"));
    command.env("DATABASE_URL", &database.url).env("MERCURIALE_SOURCES", sources).kill_on_drop(true);
    command.env("MERCURIALE_JWT_SECRET", JWT_SECRET);
    command
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("an exit code")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn sources_are_refreshed_by_name_or_all_together() {
    let (database, provider) = (Database::new().await, Provider::start().await);
    provider.publish("20250327204525", "\"one\"", &offer_file(&borrowed(&cents(3))));
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), sources(&provider)).expect("written");
    let run = async |arguments: &[&str]| {
        program(&database, file.path()).args(arguments).output().await.expect("the program runs")
    };

    let output = run(&["refresh", "--source", "paris", "--json"]).await;
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!((&report["source"], &report["listed"]), (&"paris".into(), &3.into()));
    assert_eq!(report["complete"], true);

    // All of them: one works, the other is not there.
    let output = run(&["refresh", "--json"]).await;
    assert_eq!(code(&output), 1, "{}", stderr(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!((&report["source"], &report["unchanged"]), (&"paris".into(), &3.into()));
    assert!(stderr(&output).contains("the server answered 404 Not Found"), "{}", stderr(&output));

    let output = run(&["refresh", "--source", "london"]).await;
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("there is no source london; there are paris, nowhere"));
    for wrong in [
        &["refresh", "--source", "paris", "--format", "csv", "x.csv"][..],
        &["refresh", "--format", "csv"],
        &["refresh", "x.csv"],
        &["refresh", "--partial"],
    ] {
        assert_eq!(code(&run(wrong).await), 2, "{wrong:?}");
    }

    std::fs::write(file.path(), "[[source]]\nname = \"paris\"\nkind = \"gcp\"\n").expect("written");
    let output = run(&["check-config"]).await;
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains(":3: unknown variant `gcp`"), "{}", stderr(&output));

    let output = Command::new(env!("CARGO_BIN_EXE_mercuriale"))
        .arg("refresh")
        .env("DATABASE_URL", &database.url)
        .env_remove("MERCURIALE_SOURCES")
        .output()
        .await
        .expect("the program runs");
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("set MERCURIALE_SOURCES"), "{}", stderr(&output));
}

#[tokio::test]
async fn the_service_refreshes_what_is_due_and_stops_in_order() {
    let (database, provider) = (Database::new().await, Provider::start().await);
    provider.publish("20250327204525", "\"one\"", &offer_file(&borrowed(&cents(3))));
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), sources(&provider)).expect("written");
    let mut service = program(&database, file.path())
        .args(["serve", "--listen", "127.0.0.1:0"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("the program starts");
    let both_ended = async {
        loop {
            let ended: Vec<(String, String, String)> = sqlx::query_as(
                "select r.source, r.state, e.actor from refreshes.refreshes r
                 join events e on e.position = r.position where r.ended_at is not null order by r.source desc",
            )
            .fetch_all(&database.pool)
            .await
            .expect("runs");
            if ended.len() == 2 {
                return ended;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let ended = tokio::time::timeout(std::time::Duration::from_mins(1), both_ended).await.expect("refreshed");
    let text = |source: &str, state: &str| (source.to_owned(), state.to_owned(), "scheduler".to_owned());
    assert_eq!(ended, [text("paris", "completed"), text("nowhere", "failed")]);
    let id = i32::try_from(service.id().expect("it runs")).expect("a process id");
    kill(Pid::from_raw(id), Signal::SIGTERM).expect("asked to stop");
    let status = tokio::time::timeout(std::time::Duration::from_mins(1), service.wait()).await;
    assert!(status.expect("it stops").expect("a status").success());
}
