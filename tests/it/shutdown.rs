//! A service that is asked to stop finishes what it has accepted.

use std::sync::Arc;

use axum::body::Body;
use axum::response::IntoResponse as _;
use futures_util::StreamExt as _;
use mercuriale::access::Role;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::people::vm;
use crate::program::{Started, serve};
use crate::provider::{Provider, borrowed, cents, limits, live, offer_file};
use crate::support::{Database, TENANT, authority, token};

/// A request whose body the service waits for.
struct Uploading {
    connection: TcpStream,
    body: String,
}

impl Uploading {
    /// Sends the headers, and waits until the service wants the body: then it has accepted the request.
    async fn accepted(address: &str, token: &str) -> Self {
        let body = json!({"lines": [vm()]}).to_string();
        let mut connection = TcpStream::connect(address).await.expect("connects");
        let head = format!(
            "POST /v1/estimates/calculate HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\nexpect: 100-continue\r\n\r\n",
            body.len()
        );
        connection.write_all(head.as_bytes()).await.expect("sends");
        let mut answer = vec![0; 25];
        connection.read_exact(&mut answer).await.expect("reads");
        assert_eq!(answer, b"HTTP/1.1 100 Continue\r\n\r\n");
        Self { connection, body }
    }

    /// The answer, to the end of the connection.
    async fn answered(mut self) -> String {
        self.connection.write_all(self.body.as_bytes()).await.expect("sends");
        let mut answer = String::new();
        self.connection.read_to_string(&mut answer).await.expect("reads");
        answer
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_accepted_is_finished_and_nothing_else_begun() {
    let (database, provider) = (Database::new().await, Provider::start().await);
    provider.publish("20250327204525", "\"one\"", &offer_file(&borrowed(&cents(3))));
    // Not due again while this test runs.
    live(&database, limits()).refresh(&provider.paris()).await.expect("a list");
    let next = offer_file(&borrowed(&cents(4))).replace("2025-03-27", "2025-04-27");
    let path = provider.announce("20250427204525");
    let (fetched, released) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    provider.on(&path, {
        let (fetched, released) = (Arc::clone(&fetched), Arc::clone(&released));
        move |_| {
            fetched.notify_one();
            let (start, end) = next.split_at(next.len() / 2);
            let (start, end, released) = (start.to_owned(), end.to_owned(), Arc::clone(&released));
            let start = futures_util::stream::once(async { Ok::<_, std::io::Error>(start) });
            let end = futures_util::stream::once(async move {
                released.notified().await;
                Ok(end)
            });
            Body::from_stream(start.chain(end)).into_response()
        }
    });
    let folder = tempfile::tempdir().expect("a folder");
    let sources = folder.path().join("sources.toml");
    let source = format!(
        "[[source]]\nname = \"paris\"\nkind = \"aws\"\nbase_url = \"{}\"\noffers = [\"AmazonEC2\"]\n\
         regions = [\"eu-west-3\"]\n",
        provider.url
    );
    std::fs::write(&sources, source).expect("written");
    let mut command = serve(&database.url, folder.path());
    command.env("MERCURIALE_SOURCES", &sources);
    let mut service = Started::new(command);
    let url = service.url().await;
    let address = url.strip_prefix("http://").expect("a URL");

    let admin = token(&authority().await, TENANT, Role::Admin);
    let client = reqwest::Client::new();
    let asked = client.post(format!("{url}/v1/refreshes")).bearer_auth(&admin).send().await.expect("answers");
    assert_eq!(asked.status(), StatusCode::ACCEPTED);
    let asked: Value = asked.json().await.expect("JSON");
    fetched.notified().await;
    let uploading = Uploading::accepted(address, &admin).await;

    service.ask_to_stop();
    // Nobody else gets in.
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    let answer = uploading.answered().await;
    assert!(answer.starts_with("HTTP/1.1 422 "), "{answer}");
    released.notify_one();
    service.stopped().await;
    let state: String =
        sqlx::query_scalar("select state from refreshes.refreshes where refresh_id = $1::text::uuid")
            .bind(asked["refreshes"][0]["refresh_id"].as_str().expect("an id"))
            .fetch_one(&database.pool)
            .await
            .expect("reads");
    assert_eq!(state, "completed");
    database.assert_sound().await;
}
