//! The OpenAPI 3.1 document: what every operation has in common is written here once (GTW-03, GTW-04): access, common problems, path
//! parameters, an example for each body.
//!
//! The handlers' own part comes from `#[utoipa::path]`; this module works on the JSON of it.

use serde_json::{Map, Value, json};
use utoipa::PartialSchema as _;

use crate::access::{Access, Limit};
use crate::problem::{FieldError, MEDIA_TYPE, ProblemBody};

/// Name of the security scheme of people.
const SCHEME: &str = "access_token";
/// Name of the security scheme of services.
const SERVICE_SCHEME: &str = "service_token";

/// A document without routes.
pub fn empty(public_url: &str) -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "SaaSOdoo",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Odoo instances as a service. Sign in with `POST /user/auth/login` and send `Authorization: Bearer <access_token>`. \
                Every error is a problem document (`application/problem+json`); match its `reason`, never its text. A final slash is accepted on every path.",
        },
        "servers": [{"url": "/"}, {"url": public_url}],
        "paths": {},
        "components": {
            "schemas": {"Problem": ProblemBody::schema(), "FieldError": FieldError::schema()},
            "securitySchemes": {
                SCHEME: {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                SERVICE_SCHEME: {
                    "type": "apiKey", "in": "header", "name": "X-Service-Token",
                    "description": "A token that a service signs with its own key (EdDSA, audience `gateway`, five minutes). It may also come as the bearer.",
                },
            },
        },
    })
}

/// `GET /a/{b}/c-d` → `get_a_b_c_d`.
pub fn operation_id(method: &str, path: &str) -> String {
    let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    std::iter::once(method).chain(words).collect::<Vec<_>>().join("_")
}

/// Adds what follows from method, path and access.
pub fn complete(
    operation: &Value,
    method: &str,
    path: &str,
    access: Access,
    limit: Limit,
    is_alias: bool,
) -> Value {
    let mut operation = operation.clone();
    let tag = path.split('/').nth(1).filter(|_| path.matches('/').count() > 1).unwrap_or("gateway");
    operation["tags"] = json!([tag]);
    operation["x-access"] = json!(access.word());
    operation["security"] = match access {
        Access::Public => json!([]),
        access if access.takes_services() => json!([{ SCHEME: [] }, { SERVICE_SCHEME: [] }]),
        _ => json!([{ SCHEME: [] }]),
    };
    let id = operation["operationId"].as_str().unwrap_or_default().to_owned();
    operation["operationId"] = match (is_alias, method) {
        (true, "put") => json!(format!("{id}_put_long")),
        (true, _) => json!(format!("{id}_long")),
        (false, "put") => json!(format!("{id}_put")),
        (false, _) => json!(id),
    };
    add_path_parameters(&mut operation, path);
    add_problems(&mut operation, path, access, limit);
    operation
}

fn add_path_parameters(operation: &mut Value, path: &str) {
    let mut parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
    for part in path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
        if parameters.iter().any(|known| known["name"] == part && known["in"] == "path") {
            continue;
        }
        let is_uuid = part == "id" || part == "op" || part.ends_with("_id") && part != "customer_id";
        let schema =
            if is_uuid { json!({"type": "string", "format": "uuid"}) } else { json!({"type": "string"}) };
        parameters.push(json!({"name": part, "in": "path", "required": true, "schema": schema}));
    }
    if !parameters.is_empty() {
        operation["parameters"] = Value::Array(parameters);
    }
}

fn add_problems(operation: &mut Value, path: &str, access: Access, limit: Limit) {
    let has_body = operation.get("requestBody").is_some();
    let has_input = has_body || operation.get("parameters").is_some();
    let mut common: Vec<(&str, &str)> = Vec::new();
    if has_body {
        common.extend([
            ("400", "malformed_json"),
            ("413", "payload_too_large"),
            ("415", "unsupported_media_type"),
        ]);
    }
    if access != Access::Public {
        common.extend([("401", "unauthenticated"), ("403", "forbidden")]);
    }
    if path.contains('{') {
        common.push(("404", "not_found"));
    }
    if has_input {
        common.push(("422", "validation_failed"));
    }
    if limit != Limit::Exempt {
        common.extend([("429", "rate_limited"), ("500", "internal"), ("503", "unavailable")]);
    }
    let responses = &mut operation["responses"];
    for (status, reason) in common {
        let said = responses[status]["description"].as_str().unwrap_or_default();
        let text = if said.is_empty() || said.contains(reason) {
            if said.is_empty() { reason.to_owned() } else { said.to_owned() }
        } else {
            format!("{reason}, {said}")
        };
        responses[status]["description"] = json!(text);
    }
    for (status, response) in responses.as_object_mut().into_iter().flatten() {
        let is_problem = status.as_str() >= "400" && response.get("content").is_none();
        if is_problem {
            let reason = response["description"].as_str().unwrap_or_default();
            let reason = reason.split([',', ' ']).next().unwrap_or_default().to_owned();
            response["content"] = json!({MEDIA_TYPE: {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "example": example_problem(status, &reason),
            }});
        }
    }
}

fn example_problem(status: &str, reason: &str) -> Value {
    let code: u16 = status.parse().unwrap_or(500);
    let title = http::StatusCode::from_u16(code).ok().and_then(|code| code.canonical_reason());
    let errors = if reason == "validation_failed" {
        json!([{"field": "name", "message": "must have 1 to 100 characters"}])
    } else {
        json!([])
    };
    json!({
        "type": format!("urn:saasodoo:problem:{reason}"), "title": title, "status": code, "detail": reason.replace('_', " "),
        "reason": reason, "request_id": "0196f0c0-5a1e-7c3a-9f58-2b1f6f1f0a11", "errors": errors,
    })
}

/// Gives each JSON body an example made from its schema, when all schemas are known.
pub fn finish(document: &mut Value) {
    let schemas = document["components"]["schemas"].clone();
    for item in document["paths"].as_object_mut().into_iter().flat_map(Map::values_mut) {
        for operation in item.as_object_mut().into_iter().flat_map(Map::values_mut) {
            if let Some(body) = operation.get_mut("requestBody") {
                add_examples(body, &schemas);
            }
            for response in operation["responses"].as_object_mut().into_iter().flat_map(Map::values_mut) {
                add_examples(response, &schemas);
            }
        }
    }
}

fn add_examples(body: &mut Value, schemas: &Value) {
    let Some(content) = body.get_mut("content").and_then(Value::as_object_mut) else { return };
    for media in content.values_mut() {
        if media.get("example").is_none()
            && let Some(schema) = media.get("schema")
        {
            media["example"] = sample(schema, schemas, 0);
        }
    }
}

/// A value that fits the schema.
fn sample(schema: &Value, schemas: &Value, depth: u8) -> Value {
    if depth > 8 {
        return Value::Null;
    }
    if let Some(example) = schema.get("example").or_else(|| schema.get("examples").and_then(|all| all.get(0)))
    {
        return example.clone();
    }
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        return sample(&schemas[name], schemas, depth + 1);
    }
    for choice in ["oneOf", "anyOf"] {
        if let Some(all) = schema[choice].as_array() {
            let best = all.iter().find(|one| one["type"] != "null");
            return best.map_or(Value::Null, |one| sample(one, schemas, depth + 1));
        }
    }
    if let Some(all) = schema["allOf"].as_array() {
        let mut merged = Map::new();
        for part in all {
            if let Value::Object(fields) = sample(part, schemas, depth + 1) {
                merged.extend(fields);
            }
        }
        return Value::Object(merged);
    }
    if let Some(first) = schema["enum"].get(0) {
        return first.clone();
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().find(|kind| *kind != "null").cloned().unwrap_or_default(),
        kind => kind.clone(),
    };
    match kind.as_str().unwrap_or_default() {
        "object" => {
            let fields = schema["properties"].as_object().into_iter().flatten();
            let mut object: Map<String, Value> =
                fields.map(|(name, field)| (name.clone(), sample(field, schemas, depth + 1))).collect();
            if let Some(values) = schema.get("additionalProperties").filter(|values| values.is_object()) {
                object.insert("key".into(), sample(values, schemas, depth + 1));
            }
            Value::Object(object)
        }
        "array" => json!([sample(&schema["items"], schemas, depth + 1)]),
        "integer" => schema.get("minimum").cloned().unwrap_or_else(|| json!(1)),
        "number" => json!(1.0),
        "boolean" => json!(true),
        "string" => match schema["format"].as_str().unwrap_or_default() {
            "uuid" => json!("0196f0c0-5a1e-7c3a-9f58-2b1f6f1f0a11"),
            "date-time" => json!("2026-11-23T04:00:00Z"),
            "email" => json!("ada@example.com"),
            "uri" => json!("https://example.com"),
            _ => json!("text"),
        },
        _ => Value::Null,
    }
}

/// The part of the document below one path prefix, with the schemas that it uses.
pub fn part(document: &Value, prefix: &str) -> Value {
    let mut part = document.clone();
    let below = format!("/{prefix}/");
    if let Some(paths) = part["paths"].as_object_mut() {
        paths.retain(|path, _| path.starts_with(&below));
    }
    let mut used = Vec::new();
    collect_references(&part["paths"], &mut used);
    let mut at = 0;
    while let Some(name) = used.get(at).cloned() {
        collect_references(&document["components"]["schemas"][name], &mut used);
        at += 1;
    }
    if let Some(schemas) = part["components"]["schemas"].as_object_mut() {
        schemas.retain(|name, _| used.contains(name));
    }
    part["info"]["title"] = json!(format!("SaaSOdoo: {prefix}"));
    part
}

fn collect_references(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(name) =
                fields.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next())
                && !into.iter().any(|known| known == name)
            {
                into.push(name.to_owned());
            }
            fields.values().for_each(|field| collect_references(field, into));
        }
        Value::Array(items) => items.iter().for_each(|item| collect_references(item, into)),
        _ => {}
    }
}
