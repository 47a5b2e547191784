//! API keys, and the wall in the database between tenants.

use mercuriale::access::{Role, tenant_transaction};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Executor as _, PgConnection};

use crate::people::{self, Person, detail};
use crate::service::{Refused, Service, refused};
use crate::support::{Database, TENANT};

const KEYS: &str = "/v1/api-keys";

/// Makes a key as the administrator of a tenant.
async fn create(service: &Service, tenant: &str, body: &Value) -> Value {
    let request = service.client_of(tenant, Role::Admin).post(format!("{}{KEYS}", service.url));
    let response = request.body(body.to_string()).send().await.expect("an answer");
    assert_eq!(response.status(), 201, "{:?}", response.text().await);
    assert_eq!(response.headers()["cache-control"], "no-store");
    let location = response.headers()["location"].to_str().expect("text").to_owned();
    let created: Value = response.json().await.expect("JSON");
    assert_eq!(location, format!("{KEYS}/{}", created["key_id"].as_str().expect("an id")));
    created
}

/// How a request with a key ends.
async fn status_with(service: &Service, key: &str, path: &str) -> u16 {
    let request = reqwest::Client::new().get(format!("{}{path}", service.url)).bearer_auth(key);
    request.send().await.expect("an answer").status().as_u16()
}

async fn delete(service: &Service, tenant: &str, id: &str) -> u16 {
    let request = service.client_of(tenant, Role::Admin).delete(format!("{}{KEYS}/{id}", service.url));
    request.send().await.expect("an answer").status().as_u16()
}

async fn listed(service: &Service, tenant: &str) -> Vec<Value> {
    let request = service.client_of(tenant, Role::Admin).get(format!("{}{KEYS}", service.url));
    let mut page: Value = request.send().await.expect("an answer").json().await.expect("JSON");
    let Value::Array(items) = page["items"].take() else { panic!("{page}") };
    items
}

#[tokio::test]
async fn a_key_is_shown_once_works_in_its_role_and_can_be_revoked() {
    let service = Service::new().await;
    let created = create(&service, TENANT, &json!({"name": "nightly report", "role": "viewer"})).await;
    let (key, id) = (created["key"].as_str().expect("a key"), created["key_id"].as_str().expect("an id"));
    assert_eq!((key.len(), key.starts_with("mrc_")), (47, true), "256 bits in base64url");
    assert!(created["last_used_at"].is_null());
    assert_eq!([&created["created_by"], &created["owner"]], ["user:tester"; 2]);
    assert!(created["scopes"].is_null());

    assert_eq!(status_with(&service, key, "/v1/discount-policy").await, 200);
    assert_eq!(status_with(&service, key, "/metrics").await, 403);
    assert_eq!(status_with(&service, key, KEYS).await, 403);
    let shown = listed(&service, TENANT).await;
    assert_eq!(shown.len(), 1);
    assert_eq!(shown[0]["prefix"].as_str(), key.get(..12));
    assert!(shown[0]["last_used_at"].is_string());
    assert!(!shown[0].to_string().contains(key) && shown[0].get("key").is_none());
    let kept: String = sqlx::query_scalar("select k::text from api_keys k")
        .fetch_one(&mut service.database.owner().await)
        .await
        .expect("reads");
    assert!(!kept.contains(&key[13..]), "{kept}");

    // Nearly the same is not the same.
    for other in
        [format!("{key}A"), key[..46].to_owned(), key.to_uppercase(), "mrc_".to_owned(), "mrc_%00".to_owned()]
    {
        assert_eq!(status_with(&service, &other, "/v1/discount-policy").await, 401, "{other}");
    }
    // Another tenant neither sees nor revokes it.
    assert!(listed(&service, "other").await.is_empty());
    assert_eq!(delete(&service, "other", id).await, 404);
    assert_eq!(status_with(&service, key, "/v1/discount-policy").await, 200);
    assert_eq!(delete(&service, TENANT, id).await, 204);
    assert_eq!(status_with(&service, key, "/v1/discount-policy").await, 401);
    assert_eq!(delete(&service, TENANT, id).await, 204, "once more changes nothing");
    assert!(listed(&service, TENANT).await[0]["revoked_at"].is_string());
    for unknown in ["7", "00000000-0000-0000-0000-000000000000"] {
        assert_eq!(delete(&service, TENANT, unknown).await, 404, "{unknown}");
    }
}

#[tokio::test]
async fn a_key_acts_for_its_tenant_until_it_expires() {
    let service = Service::new().await;
    let end = chrono::Utc::now() + chrono::TimeDelta::hours(1);
    let created =
        create(&service, "other", &json!({"name": "ops", "role": "admin", "expires_at": end})).await;
    let key = created["key"].as_str().expect("a key");
    let rates =
        json!({"rates": {"on-demand": "0", "reserved-1y": "0.1", "reserved-3y": "0.2", "spot": "0.3"}});
    let put = reqwest::Client::new().put(format!("{}/v1/discount-policy", service.url)).bearer_auth(key);
    let response = put.header("if-match", "\"1\"").body(rates.to_string()).send().await.expect("an answer");
    assert_eq!(response.status(), 200);
    let actor: String = sqlx::query_scalar("select actor from events")
        .fetch_one(&service.database.pool)
        .await
        .expect("reads");
    assert_eq!(actor, format!("key:other/{}", created["key_id"].as_str().expect("an id")));
    let mut owner = service.database.owner().await;
    owner.execute("update api_keys set expires_at = now() - interval '1 second'").await.expect("updates");
    assert_eq!(status_with(&service, key, "/v1/discount-policy").await, 401);
}

#[tokio::test]
async fn keys_that_cannot_be_are_refused() {
    let service = Service::new().await;
    let long = "x".repeat(101);
    let refusal = async |body: String| -> Refused {
        let response = service.client.request(Method::POST, format!("{}{KEYS}", service.url)).body(body);
        refused(response.send().await.expect("an answer")).await
    };
    for (body, text) in [
        (json!({"name": "", "role": "viewer"}).to_string(), "name"),
        (json!({"name": long, "role": "viewer"}).to_string(), "name"),
        (json!({"name": "a\u{0}", "role": "viewer"}).to_string(), "name"),
        (json!({"name": "a", "role": "root"}).to_string(), "role"),
        (json!({"name": "a"}).to_string(), "role"),
        (json!({"name": "a", "role": "viewer", "tenant": "other"}).to_string(), "tenant"),
        (json!({"name": "a", "role": "viewer", "scopes": []}).to_string(), "at least one"),
        (json!({"name": "a", "role": "viewer", "scopes": ["prices:sell"]}).to_string(), "prices:read"),
        (json!({"name": "a", "role": "viewer", "scopes": ["estimates:write"]}).to_string(), "of no use"),
        (json!({"name": "a", "role": "viewer", "expires_at": "2020-01-01T00:00:00Z"}).to_string(), "past"),
        ("[]".to_owned(), "send {"),
    ] {
        let refused = refusal(body.clone()).await;
        assert_eq!((refused.status, refused.kind()), (400, "invalid-request"), "{body}");
        assert!(
            refused.problem["detail"].as_str().is_some_and(|detail| detail.contains(text)),
            "{refused:?}"
        );
    }
    // A tenant has as many as it may; others still may.
    service
        .database
        .owner()
        .await
        .execute(
            "insert into api_keys (key_id, tenant, name, prefix, secret_sha256, role, created_by, owner)
             select gen_random_uuid(), 'acme', 'n', 'p', sha256(n::text::bytea), 'viewer', 'test', 'test'
             from generate_series(1, 1000) n",
        )
        .await
        .expect("inserts");
    let full = refusal(json!({"name": "a", "role": "viewer"}).to_string()).await;
    assert_eq!((full.status, full.kind()), (409, "conflict"));
    create(&service, "other", &json!({"name": "a", "role": "viewer"})).await;
}

#[tokio::test]
async fn a_key_with_scopes_does_what_they_say_and_no_more() {
    let service = people::service().await;
    let ada = Person::new(&service, TENANT, "ada", Role::Admin);
    let body = json!({"name": "n", "role": "analyst", "scopes": ["estimates:read", "proposals:write"]});
    let created = create(&service, TENANT, &body).await;
    assert_eq!(created["scopes"], body["scopes"]);
    let key = Person::with_token(&service, created["key"].as_str().expect("a key"));
    // To calculate is to read; to write is not to read.
    key.unit_price(None).await;
    key.propose("0.3").await;
    for (path, scope) in
        [("/v1/prices", "prices:read"), ("/v1/proposals", "proposals:read"), ("/v1/events", "events:read")]
    {
        let response = key.send(Method::GET, path, None).await;
        let challenge = response.headers()["www-authenticate"].to_str().expect("text").to_owned();
        assert_eq!(
            challenge,
            format!("Bearer realm=\"mercuriale\", error=\"insufficient_scope\", scope=\"{scope}\"")
        );
        let refused = refused(response).await;
        assert_eq!((refused.status, refused.kind()), (403, "forbidden"));
        assert!(
            detail(&refused).contains(scope) && detail(&refused).contains("estimates:read, proposals:write")
        );
    }
    // A scope gives nothing that the role has not.
    let id = ada.propose("0.4").await;
    let refused = refused(key.decide(&id, "approve", &json!({})).await).await;
    assert!(refused.status == 403 && detail(&refused).contains("the role admin"), "{refused:?}");

    // A key makes no key that may more than itself.
    let scopes = json!(["api-keys:write", "prices:read"]);
    let maker = ada.key(&service, &json!({"name": "m", "role": "admin", "scopes": scopes})).await;
    for wider in [
        json!({"name": "w", "role": "viewer"}),
        json!({"name": "w", "role": "admin", "scopes": ["users:write"]}),
    ] {
        let refused = maker.refused(Method::POST, KEYS, Some(&wider)).await;
        assert_eq!((refused.status, refused.kind()), (403, "forbidden"), "{wider}");
        assert!(detail(&refused).contains("api-keys:write, prices:read"), "{}", detail(&refused));
    }
    let narrower = json!({"name": "w", "role": "viewer", "scopes": ["prices:read"]});
    let made = maker.ok(Method::POST, KEYS, Some(&narrower), 201).await;
    assert!(made["created_by"].as_str().is_some_and(|maker| maker.starts_with("key:")), "{made}");
    assert_eq!(made["owner"], "user:ada");
}

#[tokio::test]
async fn the_description_says_which_scope_each_route_needs() {
    let service = people::service().await;
    let document = service.get("/openapi.json").await;
    let mut scopes = std::collections::BTreeSet::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for operation in item.as_object().expect("operations").values() {
            let tag = operation["tags"][0].as_str().expect("a tag");
            let verb = match operation["x-permission"].as_str() {
                Some("read" | "audit") => "read",
                Some(_) => "write",
                None => {
                    assert!(operation.get("x-scope").is_none(), "{path}");
                    continue;
                }
            };
            assert_eq!(operation["x-scope"], format!("{tag}:{verb}"), "{path}");
            scopes.insert(format!("{tag}:{verb}"));
        }
    }
    // Each of them can be given, and all of them are as good as none.
    let all = Person::new(&service, TENANT, "ada", Role::Admin)
        .key(&service, &json!({"name": "all", "role": "admin", "scopes": scopes}))
        .await;
    for path in ["/v1/prices", "/v1/users", KEYS, "/metrics"] {
        assert_eq!(all.send(Method::GET, path, None).await.status(), 200, "{path}");
    }
}

#[tokio::test]
async fn keys_that_were_made_before_there_were_owners_get_theirs() {
    const BEFORE: &str = "alter table api_keys drop column owner, drop column scopes;
        insert into api_keys (key_id, tenant, name, prefix, secret_sha256, role, created_by) values
            ('00000000-0000-4000-8000-000000000001', 'acme', 'n', 'p', sha256('1'), 'admin', 'user:ada'),
            ('00000000-0000-4000-8000-000000000002', 'acme', 'n', 'p', sha256('2'), 'admin',
             'key:00000000-0000-4000-8000-000000000001'),
            ('00000000-0000-4000-8000-000000000003', 'acme', 'n', 'p', sha256('3'), 'admin',
             'key:00000000-0000-4000-8000-000000000002'),
            ('00000000-0000-4000-8000-000000000004', 'other', 'n', 'p', sha256('4'), 'admin', 'user:bob')";
    let database = Database::new().await;
    let mut owner = database.owner().await;
    sqlx::raw_sql(BEFORE).execute(&mut owner).await.expect("as it was");
    sqlx::raw_sql(include_str!("../../migrations/0009_api_key_scopes.sql"))
        .execute(&mut owner)
        .await
        .expect("runs");
    let owners: Vec<String> = sqlx::query_scalar("select owner from api_keys order by key_id")
        .fetch_all(&mut owner)
        .await
        .expect("reads");
    assert_eq!(owners, ["user:ada", "user:ada", "user:ada", "user:bob"]);
}

#[tokio::test]
async fn the_database_itself_keeps_tenants_apart() {
    async fn count(connection: &mut PgConnection) -> i64 {
        sqlx::query_scalar("select count(*) from api_keys").fetch_one(connection).await.expect("reads")
    }
    let service = Service::new().await;
    let pool = &service.database.pool;
    for (tenant, keys) in [("acme", 2), ("other", 1)] {
        for _ in 0..keys {
            create(&service, tenant, &json!({"name": "a", "role": "viewer"})).await;
        }
    }
    // A statement that forgets to name its tenant.
    for (tenant, expected) in [("acme", 2), ("other", 1), ("third", 0), ("", 0)] {
        let mut transaction = tenant_transaction(pool, tenant).await.expect("begins");
        assert_eq!(count(&mut transaction).await, expected, "{tenant:?}");
        let revoked = transaction.execute("update api_keys set revoked_at = now()").await.expect("updates");
        assert_eq!(revoked.rows_affected(), u64::try_from(expected).expect("a count"), "{tenant:?}");
        transaction.rollback().await.expect("rolls back");
    }
    for forbidden in [
        "insert into api_keys (key_id, tenant, name, prefix, secret_sha256, role, created_by, owner)
         values (gen_random_uuid(), 'other', 'n', 'p', sha256('x'), 'admin', 'test', 'test')",
        "update api_keys set tenant = 'other'",
        "update api_keys set owner = 'user:root'",
        "update api_keys set scopes = null",
        "update api_keys set secret_sha256 = sha256('x')",
        "delete from api_keys",
        "truncate api_keys",
        "alter table api_keys disable row level security",
        "insert into events select * from events",
    ] {
        let mut transaction = tenant_transaction(pool, "acme").await.expect("begins");
        let error = transaction.execute(forbidden).await.expect_err(forbidden).to_string();
        let is_right = error.contains("row-level security")
            || error.contains("permission denied")
            || error.contains("owner");
        assert!(is_right, "{forbidden}: {error}");
    }
    // Without a tenant, and after a transaction on the same connection, the role sees nothing.
    let mut connection = pool.acquire().await.expect("connects");
    connection
        .execute("begin; select set_config('mercuriale.tenant', 'acme', true); commit")
        .await
        .expect("runs");
    connection.execute("begin; set local role mercuriale_tenant").await.expect("runs");
    assert_eq!(count(&mut connection).await, 0);
    connection.execute("rollback").await.expect("rolls back");
    // The program's own role cannot write keys either, but for noting their use.
    for forbidden in ["update api_keys set role = 'admin'", "delete from api_keys"] {
        let error = connection.execute(forbidden).await.expect_err(forbidden).to_string();
        assert!(error.contains("permission denied"), "{forbidden}: {error}");
    }
}
