//! `larder config schema`: a JSON Schema of the file, for editors that complete and check it.

use serde_json::{Map, Value, json};

use super::keys::{AT_START, Doc, Kind, Shape, TABLES, TOP, Unset, literal};

/// The schema.
pub fn schema() -> Value {
    let mut properties = Map::new();
    for key in TOP {
        match key.doc.name.split_once('.') {
            None => {
                properties.insert(key.doc.name.into(), property(&key.doc));
            }
            Some((section, name)) => {
                let section = properties.entry(section).or_insert_with(
                    || json!({ "type": "object", "additionalProperties": false, "properties": {} }),
                );
                section["properties"][name] = property(&key.doc);
            }
        }
    }
    for table in &TABLES {
        let docs = (table.keys)();
        let inner: Map<String, Value> = docs.iter().map(|doc| (doc.name.into(), property(doc))).collect();
        let needed: Vec<&str> =
            docs.iter().filter(|doc| matches!(doc.unset, Unset::Needed(_))).map(|doc| doc.name).collect();
        let inner = json!({ "type": "object", "additionalProperties": false, "properties": inner, "required": needed });
        let outer = match table.shape {
            Shape::Named => json!({ "type": "object", "additionalProperties": inner }),
            Shape::Listed => json!({ "type": "array", "items": inner }),
        };
        properties.insert(table.name.into(), described(outer, table.reason));
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Larder's configuration",
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
    })
}

fn property(doc: &Doc) -> Value {
    let reason = if doc.at_start { format!("{} {AT_START}", doc.reason) } else { doc.reason.to_owned() };
    let mut shape = described(shape(doc.kind), &reason);
    match doc.unset {
        Unset::Is(value) => shape["default"] = json!(literal(value)),
        Unset::Follows(words, value) => {
            shape["description"] = format!("{reason} Default: {words}.").into();
            shape["examples"] = json!([literal(value)]);
        }
        Unset::Needed(value) => shape["examples"] = json!([literal(value)]),
    }
    shape
}

fn shape(kind: Kind) -> Value {
    let text = json!({ "type": "string" });
    let texts = |items: Value| json!({ "type": "array", "items": items });
    match kind {
        Kind::Size => json!({
            "type": ["string", "integer"],
            "minimum": 0,
            "pattern": "^ *[0-9][0-9_.]* *([kKmMgGtT][iI]?[bB]|[kK]|[bB])? *$",
        }),
        Kind::Time => json!({
            "type": "string",
            "pattern": "^ *[0-9][0-9_.]* *(us|ms|s|sec|m|min|h|hour|hours|d|day|days) *$",
        }),
        Kind::Count => json!({ "type": "integer", "minimum": 1 }),
        Kind::Percent => json!({
            "type": ["string", "integer"],
            "minimum": 0,
            "maximum": 100,
            "pattern": "^[0-9]+ *%$",
        }),
        Kind::Text | Kind::Url => text,
        Kind::Texts => json!({ "anyOf": [text.clone(), texts(text)] }),
        Kind::Users => texts(json!({ "type": ["string", "integer"] })),
        Kind::Truth => json!({ "type": "boolean" }),
        Kind::Word(words) => json!({ "enum": words }),
    }
}

fn described(mut shape: Value, words: &str) -> Value {
    shape["description"] = words.into();
    shape
}
