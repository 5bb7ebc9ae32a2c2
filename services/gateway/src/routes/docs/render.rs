//! The OpenAPI document as plain HTML: operations, who may call them, parameters, bodies with examples, answers.

use std::fmt::Write as _;

use serde_json::Value;

/// The one style sheet; the page's policy names its hash.
pub const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8884;--soft:#8882}\
body{font:16px/1.5 system-ui,sans-serif;max-width:62rem;margin:0 auto;padding:1rem}\
code,pre{font:14px/1.45 ui-monospace,monospace}\
pre{background:var(--soft);padding:.75rem;overflow:auto;border-radius:.4rem}\
details{border:1px solid var(--line);border-radius:.4rem;margin:.5rem 0;padding:.25rem .75rem}\
summary{cursor:pointer;padding:.35rem 0}\
.method{display:inline-block;min-width:4.2rem;font-weight:700}\
.who{float:right;font-size:.85rem;border:1px solid var(--line);border-radius:1rem;padding:0 .6rem}\
table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;border-bottom:1px solid var(--line);padding:.3rem .5rem}\
nav a{margin-right:1rem}h2{margin-top:1.5rem}";

/// Methods in reading order.
const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// The page of one prefix.
pub fn page(document: &Value, prefix: &str) -> String {
    let title = escape(text(&document["info"]["title"]));
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title><style>{STYLE}</style></head><body><main><h1>{title}</h1>\
         <p>{}</p><nav>",
        marked(text(&document["info"]["description"]))
    );
    for other in ["user", "billing", "instance", "database", "notification"] {
        let here = if other == prefix { " aria-current=\"page\"" } else { "" };
        let _ = write!(html, "<a href=\"/{other}/docs\"{here}>{other}</a>");
    }
    let _ = write!(html, "<a href=\"/{prefix}/openapi.json\">OpenAPI 3.1</a></nav>");
    let schemas = &document["components"]["schemas"];
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        for method in METHODS {
            if let Some(operation) = item.get(method) {
                write_operation(&mut html, method, path, operation, schemas);
            }
        }
    }
    html.push_str("</main></body></html>");
    html
}

fn write_operation(html: &mut String, method: &str, path: &str, operation: &Value, schemas: &Value) {
    let _ = write!(
        html,
        "<details id=\"{}\"><summary><span class=\"who\">{}</span><span class=\"method\">{}</span> <code>{}</code> {}</summary>",
        escape(text(&operation["operationId"])),
        escape(text(&operation["x-access"])),
        method.to_uppercase(),
        escape(path),
        marked(text(&operation["summary"])),
    );
    if let Some(description) = operation["description"].as_str() {
        let _ = write!(html, "<p>{}</p>", marked(description));
    }
    let needs_token = operation["security"].as_array().is_some_and(|all| !all.is_empty());
    if needs_token {
        html.push_str("<p>Needs <code>Authorization: Bearer &lt;access_token&gt;</code>.</p>");
    }
    write_parameters(html, operation);
    for (media, content) in operation["requestBody"]["content"].as_object().into_iter().flatten() {
        let _ = write!(html, "<h3>Body <code>{}</code></h3>", escape(media));
        write_fields(html, &content["schema"], schemas);
        write_example(html, &content["example"]);
    }
    html.push_str("<h3>Answers</h3>");
    for (status, response) in operation["responses"].as_object().into_iter().flatten() {
        let _ = write!(
            html,
            "<p><strong>{}</strong> {}</p>",
            escape(status),
            escape(text(&response["description"]))
        );
        if status.starts_with('2') {
            for content in response["content"].as_object().into_iter().flat_map(serde_json::Map::values) {
                write_example(html, &content["example"]);
            }
        }
    }
    html.push_str("</details>");
}

fn write_parameters(html: &mut String, operation: &Value) {
    let Some(parameters) = operation["parameters"].as_array() else { return };
    html.push_str("<h3>Parameters</h3><table><thead><tr><th>Name</th><th>In</th><th>Type</th><th></th></tr></thead><tbody>");
    for parameter in parameters {
        let _ = write!(
            html,
            "<tr><td><code>{}</code></td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(text(&parameter["name"])),
            escape(text(&parameter["in"])),
            escape(&kind(&parameter["schema"])),
            marked(text(&parameter["description"])),
        );
    }
    html.push_str("</tbody></table>");
}

/// The fields of an object, one table row each.
fn write_fields(html: &mut String, schema: &Value, schemas: &Value) {
    let schema = resolved(schema, schemas);
    let Some(fields) = schema["properties"].as_object().filter(|fields| !fields.is_empty()) else { return };
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    html.push_str(
        "<table><thead><tr><th>Field</th><th>Type</th><th>Limits</th><th></th></tr></thead><tbody>",
    );
    for (name, field) in fields {
        let inner = resolved(field, schemas);
        let need = if required.contains(&name.as_str()) { " (required)" } else { "" };
        let description =
            field["description"].as_str().or_else(|| inner["description"].as_str()).unwrap_or_default();
        let _ = write!(
            html,
            "<tr><td><code>{}</code>{need}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(name),
            escape(&kind(inner)),
            escape(&limits(inner)),
            marked(description),
        );
    }
    html.push_str("</tbody></table>");
}

fn resolved<'a>(schema: &'a Value, schemas: &'a Value) -> &'a Value {
    let mut schema = schema;
    for _ in 0..4 {
        if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
            schema = &schemas[name];
        } else if let Some(choices) = schema["oneOf"].as_array() {
            schema = choices.iter().find(|one| one["type"] != "null").unwrap_or(schema);
        } else {
            break;
        }
    }
    schema
}

fn kind(schema: &Value) -> String {
    let kind = match &schema["type"] {
        Value::Array(kinds) => {
            let kinds: Vec<&str> =
                kinds.iter().filter_map(Value::as_str).filter(|kind| *kind != "null").collect();
            kinds.join(" or ")
        }
        kind => text(kind).to_owned(),
    };
    match schema["format"].as_str() {
        Some(format) => format!("{kind} ({format})"),
        None => kind,
    }
}

fn limits(schema: &Value) -> String {
    let names = [
        ("minLength", "at least"),
        ("maxLength", "at most"),
        ("minimum", "from"),
        ("maximum", "to"),
        ("pattern", "like"),
        ("default", "default"),
    ];
    let mut said: Vec<String> = Vec::new();
    for (name, word) in names {
        match &schema[name] {
            Value::Null => {}
            Value::String(value) => said.push(format!("{word} {value}")),
            value => said.push(format!("{word} {value}")),
        }
    }
    if let Some(words) = schema["enum"].as_array() {
        let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
        said.push(words.join(", "));
    }
    said.join(", ")
}

fn write_example(html: &mut String, example: &Value) {
    let shown = match example {
        Value::Null => return,
        Value::String(text) => text.clone(),
        example => serde_json::to_string_pretty(example).unwrap_or_default(),
    };
    let _ = write!(html, "<pre>{}</pre>", escape(&shown));
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Escaped, with `code` between back-ticks.
fn marked(source: &str) -> String {
    let mut html = String::new();
    for (at, part) in escape(source).split('`').enumerate() {
        if at % 2 == 1 {
            let _ = write!(html, "<code>{part}</code>");
        } else {
            html.push_str(part);
        }
    }
    html
}

fn escape(source: &str) -> String {
    source.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_the_document_is_never_markup() {
        assert_eq!(marked("a <b> `x<y` \"c\""), "a &lt;b&gt; <code>x&lt;y</code> &quot;c&quot;");
    }
}
