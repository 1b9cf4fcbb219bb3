//! One file of manifests: from text to slim objects.

use std::path::Path;

use k8s_openapi::api::core::v1;
use k8s_openapi::api::discovery::v1 as discovery;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::watch::{Keep, Kind, Object, Problem, Reason, convert};

/// What a file holds.
#[derive(Default)]
pub(super) struct Documents {
    pub(super) objects: Vec<Object>,
    pub(super) problems: Vec<Problem>,
    /// Whether a part of it is not YAML or JSON at all.
    pub(super) broken: bool,
}

/// Reads a file of YAML or JSON documents. What is not YAML or JSON, and what
/// decodes to no usable object, is reported and left out.
pub(super) fn read(name: &str, text: &str, keep: Keep) -> Documents {
    let mut documents = Documents::default();
    let json = Path::new(name).extension();
    let values = if json.is_some_and(|kind| kind == "json") {
        json_values(name, text)
    } else {
        yaml_values(name, text)
    };
    for (number, value) in (1..).zip(values) {
        match value {
            Ok(value) => {
                let mut reader = Reader {
                    place: format!("{name} document {number}"),
                    keep,
                    documents: &mut documents,
                };
                reader.value("", value);
            }
            Err(problem) => {
                documents.broken = true;
                documents.problems.push(problem);
            }
        }
    }
    documents
}

fn syntax(name: &str, number: usize, message: String) -> Problem {
    Problem {
        object: format!("{name} document {number}"),
        field: String::new(),
        reason: Reason::Syntax(message),
    }
}

fn json_values(name: &str, text: &str) -> Vec<Result<Value, Problem>> {
    let values = serde_json::Deserializer::from_str(text).into_iter();
    (1..)
        .zip(values)
        .map(|(number, value)| value.map_err(|error| syntax(name, number, error.to_string())))
        .collect()
}

fn yaml_values(name: &str, text: &str) -> Vec<Result<Value, Problem>> {
    let parse = |text: &str| {
        let options = serde_saphyr::options! {
            // The limits are against strangers' documents; these are the
            // operator's, and may describe a large cluster.
            budget: None,
            with_snippet: false,
            // As kubectl and the API server read a document.
            duplicate_keys: serde_saphyr::options::DuplicateKeyPolicy::Error,
        };
        serde_saphyr::from_str_with_options::<Value>(text, options)
    };
    let mut values = Vec::new();
    for (first_line, document) in split(text) {
        if document.lines().all(is_blank) {
            continue;
        }
        let number = values.len() + 1;
        values.push(parse(document).map_err(|error| {
            // Once more with the lines before it, so that the message says
            // which line of the file it is.
            let padded = "\n".repeat(first_line) + document;
            let error = parse(&padded).err().unwrap_or(error);
            syntax(name, number, error.without_snippet().to_string())
        }));
    }
    values
}

fn is_blank(line: &str) -> bool {
    let line = line.trim_start();
    line.is_empty() || line.starts_with('#')
}

/// The documents of a YAML stream with the number of lines before each. A line
/// that starts with `---` begins one wherever it stands (YAML 1.2.2, section
/// 9.1.2: not even a block scalar may hold such a line).
fn split(text: &str) -> Vec<(usize, &str)> {
    let mut documents = Vec::new();
    let (mut start, mut start_line, mut offset) = (0, 0, 0);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let marker = line
            .strip_prefix("---")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']));
        if marker {
            documents.push((start_line, &text[start..offset]));
            (start, start_line) = (offset, number);
            // What follows on the line belongs to the document. A comment may.
            let rest = line["---".len()..].trim();
            if rest.is_empty() || rest.starts_with('#') {
                (start, start_line) = (offset + line.len(), number + 1);
            }
        }
        offset += line.len();
    }
    documents.push((start_line, &text[start..]));
    documents
}

/// Turns values into objects.
struct Reader<'a> {
    /// File and document.
    place: String,
    keep: Keep,
    documents: &'a mut Documents,
}

impl Reader<'_> {
    fn problem(&mut self, field: String, reason: Reason) {
        self.documents.problems.push(Problem {
            object: self.place.clone(),
            field,
            reason,
        });
    }

    /// Takes in a document or, `prefix` saying which, an item of a list.
    fn value(&mut self, prefix: &str, value: Value) {
        let field = |name: &str| {
            let dot = if prefix.is_empty() { "" } else { "." };
            format!("{prefix}{dot}{name}")
        };
        if value.is_null() {
            return;
        }
        let Value::Object(mut map) = value else {
            let reason = Reason::InvalidField("not a mapping".to_owned());
            return self.problem(prefix.to_owned(), reason);
        };
        let mut text = |name: &str| match map.get(name) {
            Some(Value::String(text)) => Some(text.clone()),
            Some(_) => {
                let reason = Reason::InvalidField("not a string".to_owned());
                self.problem(field(name), reason);
                None
            }
            None => {
                self.problem(field(name), Reason::MissingField);
                None
            }
        };
        let (Some(version), Some(kind)) = (text("apiVersion"), text("kind")) else {
            return;
        };
        if let Some(items) = kind.strip_suffix("List").map(str::to_owned) {
            match map.remove("items") {
                Some(Value::Array(values)) => {
                    for (i, mut value) in values.into_iter().enumerate() {
                        // Items of a typed list need not repeat their kind.
                        if let (Value::Object(item), false) = (&mut value, items.is_empty()) {
                            let text = |text: &String| Value::String(text.clone());
                            item.entry("apiVersion").or_insert_with(|| text(&version));
                            item.entry("kind").or_insert_with(|| text(&items));
                        }
                        self.value(&field(&format!("items[{i}]")), value);
                    }
                }
                Some(Value::Null) | None => {}
                Some(_) => {
                    let reason = Reason::InvalidField("not a list".to_owned());
                    self.problem(field("items"), reason);
                }
            }
            return;
        }
        let Some(known) = Kind::ALL.into_iter().find(|known| known.name() == kind) else {
            return;
        };
        let expected = match known {
            Kind::Namespace | Kind::Service | Kind::Pod => "v1",
            Kind::EndpointSlice => "discovery.k8s.io/v1",
        };
        if version != expected {
            let group = |version: &str| version.rsplit_once('/').map(|(group, _)| group.to_owned());
            if group(&version) == group(expected) {
                self.problem(field("apiVersion"), Reason::UnsupportedVersion(version));
                self.unreadable(known, map.get("metadata").cloned());
            }
            return;
        }
        let value = Value::Object(map);
        match known {
            Kind::Namespace => {
                let found = self.decode::<v1::Namespace>(prefix, known, value);
                self.put(found, |object, problems| {
                    convert::namespace(object, problems).map(Object::Namespace)
                });
            }
            Kind::Service => {
                let found = self.decode::<v1::Service>(prefix, known, value);
                self.put(found, |object, problems| {
                    convert::service(object, problems).map(Object::Service)
                });
            }
            Kind::EndpointSlice => {
                let keep = self.keep;
                let found = self.decode::<discovery::EndpointSlice>(prefix, known, value);
                self.put(found, |object, problems| {
                    convert::endpoint_slice(object, keep, problems).map(Object::EndpointSlice)
                });
            }
            Kind::Pod => {
                let found = self.decode::<v1::Pod>(prefix, known, value);
                self.put(found, |object, problems| {
                    convert::pod(object, problems).map(Object::Pod)
                });
            }
        }
    }

    /// The object; `None`, and a report, where a field is not what the API has there.
    fn decode<T: DeserializeOwned>(&mut self, prefix: &str, kind: Kind, value: Value) -> Option<T> {
        let metadata = value.get("metadata").cloned();
        match serde_path_to_error::deserialize(value) {
            Ok(object) => Some(object),
            Err(error) => {
                let path = error.path().to_string();
                let dot = if prefix.is_empty() { "" } else { "." };
                let reason = Reason::InvalidField(error.into_inner().to_string());
                self.problem(format!("{prefix}{dot}{path}"), reason);
                self.unreadable(kind, metadata);
                None
            }
        }
    }

    /// Takes in an object of which only the metadata may be known, so that its names
    /// are not denied.
    fn unreadable(&mut self, kind: Kind, metadata: Option<Value>) {
        let metadata = serde_json::from_value(metadata.unwrap_or_default());
        let known = metadata.ok().and_then(|of| convert::unreadable(kind, of));
        self.documents.objects.extend(known);
    }

    /// Cuts an object down, with file and document named in its problems.
    fn put<T>(
        &mut self,
        object: Option<T>,
        slim: impl FnOnce(&T, &mut Vec<Problem>) -> Option<Object>,
    ) {
        let Some(object) = object else { return };
        let mut problems = Vec::new();
        let slim = slim(&object, &mut problems);
        self.documents.objects.extend(slim);
        let place = &self.place;
        self.documents
            .problems
            .extend(problems.into_iter().map(|problem| Problem {
                object: format!("{place}: {}", problem.object),
                ..problem
            }));
    }
}
