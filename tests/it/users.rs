//! Users: made by administrators, let in by a password, and let go on by refresh tokens.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mercuriale::access::{Role, tenant_transaction};
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Executor as _, PgConnection};

use crate::people::{Person, detail, json_of};
use crate::program::{Started, serve};
use crate::service::{Refused, Service, refused};
use crate::support::TENANT;

const USERS: &str = "/v1/users";
const PASSWORD: &str = "correct horse battery";

/// Sends a body without a token.
pub(crate) async fn post(url: &str, path: &str, body: &Value) -> Response {
    let request = Client::new().post(format!("{url}{path}")).header("content-type", "application/json");
    request.body(body.to_string()).send().await.expect("an answer")
}

fn administrator(service: &Service, tenant: &str) -> Person {
    Person::new(service, tenant, "root", Role::Admin)
}

/// Makes a user as an administrator of a tenant; id and setup token.
async fn create(service: &Service, tenant: &str, name: &str, role: &str) -> (String, String) {
    let body = json!({"name": name, "role": role});
    let response = administrator(service, tenant).send(Method::POST, USERS, Some(&body)).await;
    assert_eq!(response.headers()["cache-control"], "no-store");
    let location = response.headers()["location"].to_str().expect("text").to_owned();
    let created = json_of(response, 201).await;
    let text = |name: &str| created[name].as_str().expect("text").to_owned();
    assert_eq!(location, format!("{USERS}/{}", text("user_id")));
    (text("user_id"), text("setup_token"))
}

async fn set_up(url: &str, setup_token: &str, password: &str) -> u16 {
    let body = json!({"setup_token": setup_token, "password": password});
    post(url, "/v1/password", &body).await.status().as_u16()
}

/// Makes a user who has the password of these tests; the id.
pub(crate) async fn member(service: &Service, tenant: &str, name: &str, role: &str) -> String {
    let (id, setup_token) = create(service, tenant, name, role).await;
    assert_eq!(set_up(&service.url, &setup_token, PASSWORD).await, 204);
    id
}

async fn try_password(url: &str, tenant: &str, name: &str, password: &str) -> Response {
    let body = json!({"grant_type": "password", "tenant": tenant, "name": name, "password": password});
    post(url, "/v1/token", &body).await
}

/// Logs in with the password of these tests; access token and refresh token.
async fn log_in(service: &Service, tenant: &str, name: &str) -> (String, String) {
    pair(try_password(&service.url, tenant, name, PASSWORD).await).await
}

async fn renew(url: &str, refresh_token: &str) -> Response {
    post(url, "/v1/token", &json!({"grant_type": "refresh_token", "refresh_token": refresh_token})).await
}

async fn pair(response: Response) -> (String, String) {
    let tokens = json_of(response, 200).await;
    let text = |name: &str| tokens[name].as_str().expect("text").to_owned();
    (text("access_token"), text("refresh_token"))
}

/// How a request is refused that shows something that is not good.
async fn unknown(response: Response) -> Refused {
    assert_eq!(response.headers()["www-authenticate"], "Bearer realm=\"mercuriale\"");
    let refused = refused(response).await;
    assert_eq!((refused.status, refused.kind()), (401, "unauthenticated"), "{refused:?}");
    refused
}

async fn change(service: &Service, id: &str, body: &Value) -> Value {
    administrator(service, TENANT).ok(Method::PATCH, &format!("{USERS}/{id}"), Some(body), 200).await
}

async fn listed(service: &Service, tenant: &str) -> Vec<Value> {
    let mut page = administrator(service, tenant).ok(Method::GET, USERS, None, 200).await;
    let Value::Array(items) = page["items"].take() else { panic!("{page}") };
    items
}

async fn owner_runs(service: &Service, sql: &'static str) {
    service.database.owner().await.execute(sql).await.expect(sql);
}

async fn logins(service: &Service) -> i64 {
    let mut owner = service.database.owner().await;
    sqlx::query_scalar("select count(*) from logins").fetch_one(&mut owner).await.expect("reads")
}

#[tokio::test]
async fn a_user_sets_a_password_logs_in_and_goes_on() {
    let service = Service::new().await;
    let url = &service.url;
    let (id, setup_token) = create(&service, TENANT, "ada@example.org", "admin").await;
    assert!(setup_token.starts_with("mrs_"), "{setup_token}");
    let shown = &listed(&service, TENANT).await[0];
    assert_eq!(
        [&shown["name"], &shown["role"], &shown["created_by"]],
        ["ada@example.org", "admin", "user:root"]
    );
    assert!(shown["password_set_at"].is_null() && shown["setup_expires_at"].is_string(), "{shown}");
    assert_eq!(set_up(url, &setup_token, PASSWORD).await, 204);
    assert_eq!(set_up(url, &setup_token, "another password").await, 401, "it is good once");
    let shown = &listed(&service, TENANT).await[0];
    assert!(shown["password_set_at"].is_string() && shown["setup_expires_at"].is_null(), "{shown}");
    assert_eq!(shown.as_object().map(serde_json::Map::len), Some(8), "nothing else is shown: {shown}");

    let response = try_password(url, TENANT, "ada@example.org", PASSWORD).await;
    assert_eq!(response.headers()["cache-control"], "no-store");
    let tokens = json_of(response, 200).await;
    assert_eq!([&tokens["token_type"], &tokens["expires_in"]], [&json!("Bearer"), &json!(900)]);
    assert_eq!(tokens["refresh_expires_in"], 7 * 24 * 3_600);
    let mut refresh_token = tokens["refresh_token"].as_str().expect("text").to_owned();
    let mut access_token = tokens["access_token"].as_str().expect("text").to_owned();
    let mut seen = vec![setup_token, refresh_token.clone()];
    for _ in 0..3 {
        let principal = service.authority.verify(&access_token).await.expect("a good token");
        assert_eq!((&*principal.tenant, principal.actor().as_str()), (TENANT, "user:ada@example.org"));
        assert_eq!(principal.role, Role::Admin);
        let left = principal.expires_at.expect("an end") - chrono::Utc::now();
        assert!((14..=15).contains(&left.num_minutes()), "{left}");
        let request = Client::new().get(format!("{url}{USERS}")).bearer_auth(&access_token);
        assert_eq!(request.send().await.expect("answers").status(), 200);
        (access_token, refresh_token) = pair(renew(url, &refresh_token).await).await;
        assert!(refresh_token.starts_with("mrr_") && !seen.contains(&refresh_token));
        seen.push(refresh_token.clone());
    }
    assert_eq!(logins(&service).await, 1, "a login takes one row, however often it is renewed");

    // Nothing that lets anybody in can be read from the database.
    let rows: Vec<String> =
        sqlx::query_scalar("select u::text from users u union all select l::text from logins l")
            .fetch_all(&mut service.database.owner().await)
            .await
            .expect("reads");
    for secret in seen.iter().map(|token| &token[60..]).chain([PASSWORD]) {
        assert!(!rows.iter().any(|row| row.contains(secret)), "{rows:?}");
    }
    // Logged out; twice is no more than once.
    let revoke = json!({"refresh_token": refresh_token});
    for _ in 0..2 {
        assert_eq!(post(url, "/v1/token/revoke", &revoke).await.status(), 204);
    }
    unknown(renew(url, &refresh_token).await).await;
    for nothing in ["", "mrr_", "mrs_AAAA", "\u{0}"] {
        assert_eq!(post(url, "/v1/token/revoke", &json!({"refresh_token": nothing})).await.status(), 204);
        unknown(renew(url, nothing).await).await;
    }
    assert_eq!(change(&service, &id, &json!({})).await["name"], "ada@example.org");
    for body in [None, Some(json!([null, null])), Some(json!({"name": "bob"}))] {
        let path = format!("{USERS}/{id}");
        let refused = administrator(&service, TENANT).refused(Method::PATCH, &path, body.as_ref()).await;
        assert_eq!((refused.status, refused.kind()), (400, "invalid-request"), "{body:?}");
    }
}

#[tokio::test]
async fn a_refresh_token_that_is_used_again_ends_its_login_and_no_other() {
    let service = Service::new().await;
    let url = &service.url;
    member(&service, TENANT, "ada", "viewer").await;
    let (_, stolen) = log_in(&service, TENANT, "ada").await;
    let (_, other) = log_in(&service, TENANT, "ada").await;
    let (_, next) = pair(renew(url, &stolen).await).await;
    let (_, last) = pair(renew(url, &next).await).await;
    unknown(renew(url, &stolen).await).await;
    unknown(renew(url, &last).await).await;
    assert_eq!(logins(&service).await, 1);
    let (_, other) = pair(renew(url, &other).await).await;

    // What was never a token of the login, but names it, ends it too: nobody else could know its name.
    let bytes = URL_SAFE_NO_PAD.decode(&other[4..]).expect("base64");
    let with = |at: usize, with: &[u8]| {
        let mut bytes = bytes.clone();
        bytes.splice(at..at + with.len(), with.iter().copied());
        format!("mrr_{}", URL_SAFE_NO_PAD.encode(bytes))
    };
    // Of another tenant, or another login: there is none.
    for forged in [with(48, b"zzzz"), with(0, &[0; 16])] {
        unknown(renew(url, &forged).await).await;
    }
    assert_eq!(logins(&service).await, 1);
    unknown(renew(url, &with(16, &[0; 32])).await).await;
    assert_eq!(logins(&service).await, 0);
}

#[tokio::test]
async fn of_many_uses_of_a_refresh_token_at_once_one_wins_and_the_login_ends() {
    let service = Service::new().await;
    let url = &service.url;
    member(&service, TENANT, "ada", "viewer").await;
    for _ in 0..5 {
        let (_, refresh_token) = log_in(&service, TENANT, "ada").await;
        let answers = futures_util::future::join_all((0..8).map(|_| renew(url, &refresh_token))).await;
        let (won, lost): (Vec<Response>, Vec<Response>) =
            answers.into_iter().partition(|response| response.status() == 200);
        assert_eq!((won.len(), lost.len()), (1, 7));
        for response in lost {
            unknown(response).await;
        }
        for response in won {
            unknown(renew(url, &pair(response).await.1).await).await;
        }
    }
    assert_eq!(logins(&service).await, 0);
}

#[tokio::test]
async fn an_administrator_says_who_is_let_in_and_as_what() {
    let service = Service::new().await;
    let url = &service.url;
    let id = member(&service, TENANT, "ada", "analyst").await;
    let (access_token, refresh_token) = log_in(&service, TENANT, "ada").await;
    let role_of = async |token: &str| service.authority.verify(token).await.expect("a good token").role;
    assert_eq!(role_of(&access_token).await, Role::Analyst);
    assert_eq!(change(&service, &id, &json!({"role": "auditor"})).await["role"], "auditor");
    let (access_token, refresh_token) = pair(renew(url, &refresh_token).await).await;
    assert_eq!(role_of(&access_token).await, Role::Auditor);

    let disabled = change(&service, &id, &json!({"disabled": true})).await;
    assert!(disabled["disabled_at"].is_string(), "{disabled}");
    assert_eq!(change(&service, &id, &json!({"disabled": true})).await, disabled, "it was before");
    unknown(renew(url, &refresh_token).await).await;
    unknown(try_password(url, TENANT, "ada", PASSWORD).await).await;
    let root = administrator(&service, TENANT);
    let path = format!("{USERS}/{id}/setup-token");
    let refused = root.refused(Method::POST, &path, None).await;
    assert_eq!((refused.status, refused.kind()), (409, "conflict"));
    let enabled = change(&service, &id, &json!({"disabled": false, "role": "viewer"})).await;
    assert!(enabled["disabled_at"].is_null(), "{enabled}");
    unknown(renew(url, &refresh_token).await).await;
    let (access_token, refresh_token) = log_in(&service, TENANT, "ada").await;
    assert_eq!(role_of(&access_token).await, Role::Viewer);

    // A forgotten password: the old one, and what it let in, is over.
    let reset = root.ok(Method::POST, &path, None, 200).await;
    let setup_token = reset["setup_token"].as_str().expect("text");
    assert!(reset["password_set_at"].is_null(), "{reset}");
    unknown(renew(url, &refresh_token).await).await;
    unknown(try_password(url, TENANT, "ada", PASSWORD).await).await;
    let again = root.ok(Method::POST, &path, None, 200).await;
    assert_eq!(set_up(url, setup_token, PASSWORD).await, 401, "only the last one is good");
    let setup_token = again["setup_token"].as_str().expect("text");
    assert_eq!(change(&service, &id, &json!({"disabled": true})).await["setup_expires_at"], Value::Null);
    assert_eq!(set_up(url, setup_token, PASSWORD).await, 401);
    change(&service, &id, &json!({"disabled": false})).await;
    assert_eq!(set_up(url, setup_token, PASSWORD).await, 401);
}

#[tokio::test]
async fn nobody_locks_themselves_out() {
    let service = Service::new().await;
    let (id, _) = create(&service, TENANT, "bob", "admin").await;
    let path = format!("{USERS}/{id}");
    let bob = Person::new(&service, TENANT, "bob", Role::Admin);
    let key = bob.key(&service, &json!({"name": "k", "role": "admin"})).await;
    for person in [&bob, &key] {
        for body in [json!({"disabled": true}), json!({"role": "viewer"})] {
            let refused = person.refused(Method::PATCH, &path, Some(&body)).await;
            assert_eq!((refused.status, refused.kind()), (403, "forbidden"), "{body}");
            assert!(detail(&refused).contains("another administrator"), "{}", detail(&refused));
        }
        person.ok(Method::PATCH, &path, Some(&json!({"disabled": false, "role": "admin"})), 200).await;
    }
    // Of the same name in another tenant.
    let other = Person::new(&service, "other", "bob", Role::Admin);
    assert_eq!(other.refused(Method::PATCH, &path, Some(&json!({"disabled": true}))).await.status, 404);
    let changed = change(&service, &id, &json!({"disabled": true})).await;
    assert!(changed["disabled_at"].is_string(), "{changed}");
}

#[tokio::test]
async fn a_password_is_changed_by_whoever_knows_it() {
    let service = Service::new().await;
    let url = &service.url;
    member(&service, TENANT, "ada", "viewer").await;
    let (_, refresh_token) = log_in(&service, TENANT, "ada").await;
    let change = async |password: &str, new: &str| {
        let body = json!({"tenant": TENANT, "name": "ada", "password": password, "new_password": new});
        post(url, "/v1/password", &body).await
    };
    let new = "another password";
    unknown(change("a wrong password", new).await).await;
    let refused = refused(change(PASSWORD, "too short").await).await;
    assert_eq!((refused.status, refused.kind()), (400, "invalid-request"));
    assert!(detail(&refused).contains("12 to 128"), "{}", detail(&refused));
    let (_, refresh_token) = pair(renew(url, &refresh_token).await).await;
    assert_eq!(change(PASSWORD, new).await.status(), 204);
    unknown(renew(url, &refresh_token).await).await;
    unknown(try_password(url, TENANT, "ada", PASSWORD).await).await;
    pair(try_password(url, TENANT, "ada", new).await).await;
}

#[tokio::test]
async fn what_is_wrong_with_a_password_is_not_told() {
    let service = Service::new().await;
    member(&service, TENANT, "ada", "viewer").await;
    let disabled = member(&service, TENANT, "bob", "viewer").await;
    change(&service, &disabled, &json!({"disabled": true})).await;
    create(&service, TENANT, "without", "viewer").await;
    let mut answers = HashMap::new();
    for (tenant, name, password) in [
        (TENANT, "ada", "a wrong password"),
        (TENANT, "ada", "short"),
        (TENANT, "ada", ""),
        (TENANT, "Ada", PASSWORD),
        (TENANT, "bob", PASSWORD),
        (TENANT, "without", PASSWORD),
        (TENANT, "nobody", PASSWORD),
        ("other", "ada", PASSWORD),
    ] {
        let answer = unknown(try_password(&service.url, tenant, name, password).await).await;
        let changing =
            json!({"tenant": tenant, "name": name, "password": password, "new_password": PASSWORD});
        let changed = unknown(post(&service.url, "/v1/password", &changing).await).await;
        assert_eq!(changed.problem, answer.problem);
        answers.insert(answer.problem.to_string(), format!("{tenant} {name} {password}"));
    }
    assert_eq!(answers.len(), 1, "{answers:?}");
}

#[tokio::test]
async fn setup_tokens_and_logins_get_too_old() {
    let service = Service::new().await;
    let url = &service.url;
    let (_, setup_token) = create(&service, TENANT, "bob", "viewer").await;
    owner_runs(&service, "update users set setup_expires_at = now() - interval '1 second'").await;
    assert_eq!(set_up(url, &setup_token, PASSWORD).await, 401);

    member(&service, TENANT, "ada", "viewer").await;
    // Not used for too long.
    let (_, refresh_token) = log_in(&service, TENANT, "ada").await;
    owner_runs(&service, "update logins set good_until = now() - interval '1 second'").await;
    unknown(renew(url, &refresh_token).await).await;
    assert_eq!(logins(&service).await, 0);
    // Used often enough, for too long: no use moves the end.
    let (_, refresh_token) = log_in(&service, TENANT, "ada").await;
    let sql =
        "update logins set good_until = now() + interval '1 minute', ends_at = now() + interval '1 hour'";
    owner_runs(&service, sql).await;
    let tokens = json_of(renew(url, &refresh_token).await, 200).await;
    let left = tokens["refresh_expires_in"].as_i64().expect("seconds");
    assert!((3_000..=3_600).contains(&left), "{left}");
    // What is over is forgotten, and what is too much.
    owner_runs(&service, "delete from logins").await;
    owner_runs(
        &service,
        "insert into logins (login_id, tenant, user_id, token_sha256, good_until, ends_at)
         select gen_random_uuid(), u.tenant, u.user_id, sha256(n::text::bytea), now() + n * interval '1 minute',
                now() + interval '1 day'
         from users u, generate_series(-5, 30) n where u.name = 'ada'",
    )
    .await;
    let (_, refresh_token) = log_in(&service, TENANT, "ada").await;
    assert_eq!(logins(&service).await, 20);
    pair(renew(url, &refresh_token).await).await;
    let mut owner = service.database.owner().await;
    let soonest: bool =
        sqlx::query_scalar("select min(good_until) > now() + interval '10 minutes' from logins")
            .fetch_one(&mut owner)
            .await
            .expect("reads");
    assert!(soonest, "those that were used last go on");
}

#[tokio::test]
async fn users_that_cannot_be_are_refused() {
    let service = Service::new().await;
    let root = administrator(&service, TENANT);
    let refusal = async |body: &Value| root.refused(Method::POST, USERS, Some(body)).await;
    for (body, text) in [
        (json!({"name": "", "role": "viewer"}), "name"),
        (json!({"name": "x".repeat(101), "role": "viewer"}), "name"),
        (json!({"name": "é".repeat(101), "role": "viewer"}), "name"),
        (json!({"name": "a\u{0}", "role": "viewer"}), "name"),
        (json!({"name": "a", "role": "root"}), "role"),
        (json!({"name": "a"}), "role"),
        (json!(["a", "viewer"]), "an object"),
        (json!({"name": "a", "role": "viewer", "password": PASSWORD}), "password"),
    ] {
        let refused = refusal(&body).await;
        assert_eq!((refused.status, refused.kind()), (400, "invalid-request"), "{body}");
        assert!(detail(&refused).contains(text), "{}", detail(&refused));
    }
    let id = member(&service, TENANT, "ada", "viewer").await;
    change(&service, &id, &json!({"disabled": true})).await;
    let taken = refusal(&json!({"name": "ada", "role": "viewer"})).await;
    assert_eq!((taken.status, taken.kind()), (409, "conflict"));
    assert!(detail(&taken).contains("not given twice"), "{}", detail(&taken));
    member(&service, "other", "ada", "viewer").await;
    let sql = "insert into users (user_id, tenant, name, role, created_by)
               select gen_random_uuid(), 'acme', 'n' || n, 'viewer', 'test' from generate_series(1, 1999) n";
    owner_runs(&service, sql).await;
    let full = refusal(&json!({"name": "bob", "role": "viewer"})).await;
    assert_eq!(full.status, 409);
    assert!(detail(&full).contains("the most there can be"), "{}", detail(&full));
    assert_eq!(listed(&service, TENANT).await.len(), 2_000);
    create(&service, "other", "bob", "viewer").await;
}

#[tokio::test]
async fn bodies_with_credentials_are_small_and_say_one_thing() {
    let service = Service::new().await;
    let (_, setup_token) = create(&service, TENANT, "ada", "viewer").await;
    let long = "x".repeat(129);
    let large = "x".repeat(9_000);
    for (path, body, status, text) in [
        ("/v1/token", json!({}), 400, "grant_type"),
        ("/v1/token", json!({"grant_type": "root"}), 400, "grant_type"),
        ("/v1/token", json!({"grant_type": "password", "tenant": TENANT, "name": "ada"}), 400, "password"),
        (
            "/v1/token",
            json!({"grant_type": "refresh_token", "refresh_token": "a", "tenant": "a"}),
            400,
            "tenant",
        ),
        (
            "/v1/token",
            json!({"grant_type": "password", "tenant": "a/b", "name": "ada", "password": "p"}),
            400,
            "tenant",
        ),
        (
            "/v1/token",
            json!({"grant_type": "password", "tenant": TENANT, "name": "a\u{0}", "password": "p"}),
            400,
            "subject",
        ),
        ("/v1/token", json!({"grant_type": "refresh_token", "refresh_token": large}), 413, "8192"),
        ("/v1/token/revoke", json!({}), 400, "refresh_token"),
        ("/v1/token", json!([{"refresh_token": "mrr_"}]), 400, "an object"),
        ("/v1/password", json!({}), 400, "belong together"),
        (
            "/v1/password",
            json!({"setup_token": setup_token, "password": PASSWORD, "name": "a"}),
            400,
            "belong together",
        ),
        ("/v1/password", json!({"setup_token": setup_token, "password": "eleven char"}), 400, "12 to 128"),
        ("/v1/password", json!({"setup_token": setup_token, "password": long}), 400, "12 to 128"),
    ] {
        let refused = refused(post(&service.url, path, &body).await).await;
        assert_eq!(refused.status, status, "{body}: {refused:?}");
        assert!(detail(&refused).contains(text), "{body}: {}", detail(&refused));
    }
    // The longest that there can be, each character escaped, fits.
    let escaped = "\\ud83d\\ude00".repeat(128);
    let body = format!("{{\"setup_token\":\"{setup_token}\",\"password\":\"{escaped}\"}}");
    let request = Client::new().post(format!("{}/v1/password", service.url)).body(body);
    assert_eq!(request.send().await.expect("an answer").status(), 204);
    pair(try_password(&service.url, TENANT, "ada", &"😀".repeat(128)).await).await;
}

#[tokio::test]
async fn the_database_itself_keeps_tenants_apart() {
    async fn count(connection: &mut PgConnection, table: &str) -> i64 {
        let sql = format!("select count(*) from {table}");
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(connection).await.expect("reads")
    }
    let service = Service::new().await;
    let pool = &service.database.pool;
    for (tenant, name) in [(TENANT, "ada"), (TENANT, "bob"), ("other", "ada")] {
        member(&service, tenant, name, "viewer").await;
        log_in(&service, tenant, name).await;
    }
    // Statements that forget to name their tenant.
    for (tenant, expected) in [(TENANT, 2), ("other", 1), ("third", 0), ("", 0)] {
        let mut transaction = tenant_transaction(pool, tenant).await.expect("begins");
        for table in ["users", "logins"] {
            assert_eq!(count(&mut transaction, table).await, expected, "{tenant:?} {table}");
        }
        for change in ["update users set disabled_at = now()", "delete from logins"] {
            let changed = transaction.execute(change).await.expect(change);
            assert_eq!(changed.rows_affected(), u64::try_from(expected).expect("a count"), "{tenant:?}");
        }
        transaction.rollback().await.expect("rolls back");
    }
    for forbidden in [
        "insert into users (user_id, tenant, name, role, created_by)
         values (gen_random_uuid(), 'other', 'n', 'admin', 'test')",
        "insert into logins (login_id, tenant, user_id, token_sha256, good_until, ends_at)
         values (gen_random_uuid(), 'other', gen_random_uuid(), sha256('x'), now(), now())",
        "update users set tenant = 'other'",
        "update users set name = 'root'",
        "update logins set user_id = gen_random_uuid()",
        "update logins set ends_at = ends_at + interval '1 day'",
        "delete from users",
        "truncate logins",
        "alter table users disable row level security",
    ] {
        let mut transaction = tenant_transaction(pool, TENANT).await.expect("begins");
        let error = transaction.execute(forbidden).await.expect_err(forbidden).to_string();
        let is_right = error.contains("row-level security")
            || error.contains("permission denied")
            || error.contains("owner");
        assert!(is_right, "{forbidden}: {error}");
    }
    // Without a tenant, nobody sees anybody.
    let mut connection = pool.acquire().await.expect("connects");
    for table in ["users", "logins"] {
        assert_eq!(count(&mut connection, table).await, 0, "{table}");
    }
}

#[tokio::test]
async fn nothing_that_lets_anybody_in_is_logged() {
    let service = Service::new().await;
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log");
    let mut command = serve(&service.database.url, folder.path());
    command.env("MERCURIALE_LOG", "trace").stderr(std::fs::File::create(&log).expect("a file"));
    let mut started = Started::new(command);
    let url = started.url().await;
    let (_, setup_token) = create(&service, TENANT, "ada", "viewer").await;
    assert_eq!(set_up(&url, &setup_token, PASSWORD).await, 204);
    unknown(try_password(&url, TENANT, "ada", "a wrong password").await).await;
    let (access_token, first) = pair(try_password(&url, TENANT, "ada", PASSWORD).await).await;
    let (_, second) = pair(renew(&url, &first).await).await;
    unknown(renew(&url, &first).await).await;
    started.stopped().await;
    let log = std::fs::read_to_string(log).expect("text");
    assert!(log.contains("a refresh token was used twice"), "{log}");
    assert!(log.contains("/v1/token"), "everything else is logged");
    for secret in [PASSWORD, "a wrong password", &setup_token, &access_token, &first, &second, "$argon2id"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}
