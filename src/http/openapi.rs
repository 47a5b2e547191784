//! The `OpenAPI` document of the table of routes.
//!
//! A handler documents what is its own: summary, parameters, bodies, the statuses that it alone answers. What follows from
//! its place in the table and from the layers around it is added here, so that it need not be repeated, nor can be
//! forgotten: identity, tag, security, and the problems that every route of its kind may answer with.

use serde_json::json;
use utoipa::PartialSchema as _;
use utoipa::ToSchema as _;
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::path::{HttpMethod, Operation, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, Content, ContentBuilder, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, Paths,
    Ref, RefOr, Response, ResponseBuilder,
};
use utoipa_axum::router::UtoipaMethodRouter;

use super::problem::{CONTENT_TYPE, Problem, ProblemType};
use super::scopes::{scope_of, tag_of};
use super::{Http, Needs};
use crate::access::{Permission, Role};

/// Name of the way to say who asks.
const BEARER: &str = "bearer";
const ABOUT: &str = "An event-sourced ledger of cloud prices. Decimals are strings; every answer names the ledger \
                     position at which it holds; errors are problem documents (RFC 9457) with stable types; pages end \
                     with a `Link` to the next one.";

/// Describes all routes.
pub(super) fn document(routes: Vec<(Needs, UtoipaMethodRouter<Http>)>) -> OpenApi {
    let mut all = Paths::new();
    let mut components =
        ComponentsBuilder::new().schema(Problem::name(), Problem::schema()).security_scheme(BEARER, bearer());
    let mut of_problems = Vec::new();
    Problem::schemas(&mut of_problems);
    components = components.schemas_from_iter(of_problems);
    for (needs, (schemas, paths, _)) in routes {
        components = components.schemas_from_iter(schemas);
        for (path, mut item) in paths.paths {
            for (method, operation) in operations(&mut item) {
                complete(operation, &path, needs);
                if method == HttpMethod::Get && has_etag(operation) {
                    conditional(operation);
                }
                all.add_path_operation(&path, vec![method], operation.clone());
            }
        }
    }
    for kind in ProblemType::ALL {
        components = components.response(component(kind), problem(kind));
    }
    OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("Mercuriale")
                .version(env!("CARGO_PKG_VERSION"))
                .description(Some(ABOUT))
                .license(Some(
                    LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build(),
                )),
        )
        .paths(all)
        .components(Some(components.build()))
        .build()
}

fn bearer() -> SecurityScheme {
    let described = "A JWT, or an API key. `POST /v1/token` and `mercuriale token issue` make tokens; `POST /v1/api-keys` makes keys.";
    SecurityScheme::Http(
        HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(described)).build(),
    )
}

/// Those that a path has, of the methods that routes here have.
fn operations(item: &mut PathItem) -> impl Iterator<Item = (HttpMethod, &mut Operation)> {
    [
        (HttpMethod::Get, item.get.as_mut()),
        (HttpMethod::Put, item.put.as_mut()),
        (HttpMethod::Post, item.post.as_mut()),
        (HttpMethod::Delete, item.delete.as_mut()),
        (HttpMethod::Patch, item.patch.as_mut()),
    ]
    .into_iter()
    .filter_map(|(method, operation)| Some((method, operation?)))
}

/// Adds what an operation has by its place.
fn complete(operation: &mut Operation, path: &str, needs: Needs) {
    let tag =
        path.trim_start_matches("/v1/").trim_start_matches('/').split(['/', '.']).next().unwrap_or_default();
    let handler = operation.operation_id.take().unwrap_or_default();
    operation.operation_id = Some(format!("{}_{handler}", tag.replace('-', "_")));
    operation.tags = Some(vec![tag_of(path).to_owned()]);
    match needs {
        Needs::Nothing | Needs::Credentials => operation.security = Some(Vec::new()),
        Needs::A(permission) => {
            operation.security = Some(vec![SecurityRequirement::new::<_, [&str; 0], &str>(BEARER, [])]);
            operation.extensions = Some(extensions(path, permission));
        }
    }
    for (status, response) in &mut operation.responses.responses {
        let RefOr::T(response) = response else { continue };
        if status.starts_with(['4', '5']) && response.content.is_empty() {
            response.content.insert(CONTENT_TYPE.to_owned(), RefOr::T(problem_content(None)));
        } else if response.description.is_empty() {
            "as asked for".clone_into(&mut response.description);
        }
    }
    for kind in problems(operation, needs) {
        let status = kind.status().as_str().to_owned();
        let reference = RefOr::Ref(Ref::from_response_name(component(kind)));
        operation.responses.responses.entry(status).or_insert(reference);
    }
}

/// Whether what it answers has an entity tag.
fn has_etag(operation: &Operation) -> bool {
    operation.responses.responses.get("200").is_some_and(|response| match response {
        RefOr::T(response) => response.headers.contains_key("etag"),
        RefOr::Ref(_) => false,
    })
}

/// Adds what a client may save itself.
fn conditional(operation: &mut Operation) {
    let parameter = ParameterBuilder::new()
        .name("if-none-match")
        .parameter_in(ParameterIn::Header)
        .description(Some(
            "The `ETag` of what the client has: if it is the same still, it is not sent again.",
        ))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
        .build();
    operation.parameters.get_or_insert_default().push(RefOr::T(parameter));
    let response = ResponseBuilder::new().description("the client has it already").build();
    operation.responses.responses.insert("304".to_owned(), RefOr::T(response));
}

/// The permission, the roles that have it, and the scope that a key with scopes needs.
fn extensions(path: &str, permission: Permission) -> Extensions {
    let roles: Vec<&str> =
        Role::ALL.into_iter().filter(|role| role.may(permission)).map(Role::name).collect();
    [
        ("x-permission".to_owned(), json!(permission.name())),
        ("x-roles".to_owned(), json!(roles)),
        ("x-scope".to_owned(), json!(scope_of(path, permission))),
    ]
    .into_iter()
    .collect()
}

/// What the guard, the extractors and the layers may answer in place of the handler.
fn problems(operation: &Operation, needs: Needs) -> Vec<ProblemType> {
    let mut problems = vec![ProblemType::Internal, ProblemType::Unavailable];
    let parameters = operation.parameters.iter().flatten().filter_map(|parameter| match parameter {
        RefOr::T(parameter) => Some(&parameter.parameter_in),
        RefOr::Ref(_) => None,
    });
    let places: Vec<&ParameterIn> = parameters.collect();
    if operation.request_body.is_some() {
        problems.extend([ProblemType::BodyTooLarge, ProblemType::UnsupportedMediaType]);
    }
    if operation.request_body.is_some() || !places.is_empty() {
        problems.push(ProblemType::InvalidRequest);
    }
    if places.contains(&&ParameterIn::Path) {
        problems.push(ProblemType::NotFound);
    }
    if matches!(needs, Needs::Credentials) {
        problems.push(ProblemType::TooManyRequests);
    }
    if let Needs::A(_) = needs {
        // Forbidden to the role, or to a key of other scopes.
        problems.extend([ProblemType::Unauthenticated, ProblemType::Forbidden, ProblemType::TooManyRequests]);
    }
    problems
}

/// The name of its response component.
fn component(kind: ProblemType) -> String {
    format!("{kind:?}")
}

fn problem(kind: ProblemType) -> Response {
    let example = Problem::new(kind, "what is wrong, and what to do");
    ResponseBuilder::new()
        .description(example.title())
        .content(CONTENT_TYPE, problem_content(Some(&example)))
        .build()
}

fn problem_content(example: Option<&Problem>) -> Content {
    let schema = RefOr::<utoipa::openapi::Schema>::Ref(Ref::from_schema_name(Problem::name()));
    ContentBuilder::new().schema(Some(schema)).example(example.map(|example| json!(example))).build()
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;

    #[test]
    fn every_operation_says_what_a_client_needs_to_know() {
        let mut document = document(super::super::routes());
        let mut ids = HashSet::new();
        for (path, item) in &mut document.paths.paths {
            let declared: Vec<&str> =
                path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
            let mut count = 0;
            for (_, operation) in operations(item) {
                count += 1;
                let id = operation.operation_id.clone().expect("an id");
                assert!(ids.insert(id.clone()), "{path}: another operation is {id}");
                assert!(operation.summary.as_ref().is_some_and(|text| text.ends_with('.')), "{path}: {id}");
                let of_path: Vec<&str> = operation
                    .parameters
                    .iter()
                    .flatten()
                    .map(|parameter| match parameter {
                        RefOr::T(parameter) => parameter,
                        RefOr::Ref(_) => panic!("{path}: {id} refers to a parameter"),
                    })
                    .inspect(|parameter| {
                        let described = parameter.description.as_ref().is_some_and(|text| !text.is_empty());
                        assert!(described, "{path}: {id}: {}", parameter.name);
                    })
                    .filter(|parameter| parameter.parameter_in == ParameterIn::Path)
                    .map(|parameter| parameter.name.as_str())
                    .collect();
                assert_eq!(of_path, declared, "{path}: {id}");
                let statuses: Vec<&String> = operation.responses.responses.keys().collect();
                assert!(statuses.iter().any(|status| status.starts_with('2')), "{path}: {id}: {statuses:?}");
                for (status, response) in &operation.responses.responses {
                    let RefOr::T(response) = response else { continue };
                    assert!(!response.description.is_empty(), "{path}: {id}: {status}");
                }
            }
            assert!(count > 0, "{path} has a method that is not looked at");
        }
    }

    #[test]
    fn no_answer_is_left_open() {
        let mut document = document(super::super::routes());
        for (path, item) in &mut document.paths.paths {
            for (_, operation) in operations(item) {
                for (status, response) in &operation.responses.responses {
                    let RefOr::T(response) = response else { continue };
                    for (media_type, content) in &response.content {
                        let schema = json!(content)["schema"].take();
                        let says = ["$ref", "type", "allOf", "oneOf", "anyOf"];
                        let is_open = !says.iter().any(|name| schema.get(name).is_some());
                        assert!(!is_open, "{path}: {status}: {media_type}: {schema}");
                    }
                }
            }
        }
    }

    #[test]
    fn no_two_schemas_have_the_same_name() {
        let mut known = HashMap::new();
        for (_, (schemas, ..)) in super::super::routes() {
            for (name, schema) in schemas {
                let schema = json!(schema);
                let other = known.entry(name.clone()).or_insert_with(|| schema.clone());
                assert_eq!(
                    *other, schema,
                    "{name} is two things: give one another name with #[schema(as = ...)]"
                );
            }
        }
        assert!(known.len() > 20, "{}", known.len());
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn references<'a>(value: &'a serde_json::Value, found: &mut Vec<&'a str>) {
            match value {
                serde_json::Value::Object(fields) => {
                    found.extend(fields.get("$ref").and_then(serde_json::Value::as_str));
                    fields.values().for_each(|value| references(value, found));
                }
                serde_json::Value::Array(items) => items.iter().for_each(|item| references(item, found)),
                _ => {}
            }
        }
        let document = json!(document(super::super::routes()));
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 50, "{found:?}");
        for reference in found {
            let pointer = reference.strip_prefix('#').expect("within the document");
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }
}
