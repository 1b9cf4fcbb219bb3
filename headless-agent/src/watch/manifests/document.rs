//! From the text of a manifest to slim objects.

use std::path::Path;

use k8s_openapi::api::core::v1;
use k8s_openapi::api::discovery::v1 as discovery;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::watch::convert::ReadSlice;
use crate::watch::{Keep, Kind, Object, Problem, Reason, convert};

/// The content of a file.
#[derive(Default)]
pub(super) struct Documents {
    pub(super) objects: Vec<Object>,
    pub(super) problems: Vec<Problem>,
    /// Whether a part of the file is not valid YAML or JSON.
    pub(super) broken: bool,
}

/// Reads a file of YAML or JSON documents. A document that is not valid, or that decodes
/// to no usable object, is reported and left out.
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
                let mut reader = DocumentReader {
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
            // The limits protect from documents of strangers. Manifests are the operator's,
            // and may describe a large cluster.
            budget: None,
            with_snippet: false,
            // kubectl and the API server refuse repeated keys, too.
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
            // Parsing again behind as many empty lines as stand before the document makes the
            // message name the line of the file.
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

/// The documents of a YAML stream with the number of lines before each. Every line that
/// starts with `---` begins a document: not even a block scalar may hold such a line (YAML
/// 1.2.2, section 9.1.2).
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
            // Text behind the marker is part of the document. A comment is not needed.
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
struct DocumentReader<'a> {
    /// File and document.
    place: String,
    keep: Keep,
    documents: &'a mut Documents,
}

/// The path of a field in a document.
fn path(prefix: &str, field: &str) -> String {
    let dot = if prefix.is_empty() { "" } else { "." };
    format!("{prefix}{dot}{field}")
}

impl DocumentReader<'_> {
    fn problem(&mut self, field: String, reason: Reason) {
        self.documents.problems.push(Problem {
            object: self.place.clone(),
            field,
            reason,
        });
    }

    /// Reads a document, or an item of a list. `prefix` is the path of the item in its
    /// document, such as `items[2]`; empty for a document.
    fn value(&mut self, prefix: &str, value: Value) {
        if value.is_null() {
            return;
        }
        let Value::Object(mut map) = value else {
            let reason = Reason::InvalidField("not a mapping".to_owned());
            return self.problem(prefix.to_owned(), reason);
        };
        let version = self.text(prefix, &map, "apiVersion");
        let kind = self.text(prefix, &map, "kind");
        let (Some(version), Some(kind)) = (version, kind) else {
            return;
        };
        if let Some(items) = kind.strip_suffix("List") {
            let values = map.remove("items");
            return self.list(prefix, values, &version, items);
        }
        let Some(known) = Kind::ALL.into_iter().find(|known| known.name() == kind) else {
            return;
        };
        let expected = match known {
            Kind::Namespace | Kind::Service | Kind::Pod => "v1",
            Kind::EndpointSlice => "discovery.k8s.io/v1",
        };
        if version == expected {
            return self.object(prefix, known, Value::Object(map));
        }
        // An object of the same name in another group is another kind, which DNS does not
        // need.
        let group = |version: &str| version.rsplit_once('/').map(|(group, _)| group.to_owned());
        if group(&version) == group(expected) {
            let field = path(prefix, "apiVersion");
            self.problem(field, Reason::UnsupportedVersion(version));
            self.unreadable(known, map.get("metadata").cloned());
        }
    }

    /// A required field that is a string. `None`, and a problem, where it is not.
    fn text(&mut self, prefix: &str, map: &Map<String, Value>, name: &str) -> Option<String> {
        let reason = match map.get(name) {
            Some(Value::String(text)) => return Some(text.clone()),
            Some(_) => Reason::InvalidField("not a string".to_owned()),
            None => Reason::MissingField,
        };
        self.problem(path(prefix, name), reason);
        None
    }

    /// Reads the items of a list of kind `<kind>List`. `kind` is empty for a `List`.
    fn list(&mut self, prefix: &str, items: Option<Value>, version: &str, kind: &str) {
        match items {
            Some(Value::Array(values)) => {
                for (i, mut value) in values.into_iter().enumerate() {
                    // Items of a list with a kind need not repeat it.
                    if let (Value::Object(item), false) = (&mut value, kind.is_empty()) {
                        let text = |text: &str| Value::String(text.to_owned());
                        item.entry("apiVersion").or_insert_with(|| text(version));
                        item.entry("kind").or_insert_with(|| text(kind));
                    }
                    self.value(&path(prefix, &format!("items[{i}]")), value);
                }
            }
            Some(Value::Null) | None => {}
            Some(_) => {
                let reason = Reason::InvalidField("not a list".to_owned());
                self.problem(path(prefix, "items"), reason);
            }
        }
    }

    /// Reads an object of a known kind and version.
    fn object(&mut self, prefix: &str, kind: Kind, value: Value) {
        match kind {
            Kind::Namespace => {
                let found = self.decode::<v1::Namespace>(prefix, kind, value);
                self.add(found, |object, problems| {
                    convert::namespace(object, problems).map(Object::Namespace)
                });
            }
            Kind::Service => {
                let found = self.decode::<v1::Service>(prefix, kind, value);
                self.add(found, |object, problems| {
                    convert::service(object, problems).map(Object::Service)
                });
            }
            Kind::EndpointSlice => {
                let keep = self.keep;
                let found = self.decode::<discovery::EndpointSlice>(prefix, kind, value);
                let found = found.map(|object| ReadSlice::from(&object));
                self.add(found, |object, problems| {
                    convert::endpoint_slice(object, keep, problems).map(Object::EndpointSlice)
                });
            }
            Kind::Pod => {
                let found = self.decode::<v1::Pod>(prefix, kind, value);
                self.add(found, |object, problems| {
                    convert::pod(object, problems).map(Object::Pod)
                });
            }
        }
    }

    /// Decodes an object. `None`, and a problem, where a field has a value of the wrong type.
    fn decode<T: DeserializeOwned>(&mut self, prefix: &str, kind: Kind, value: Value) -> Option<T> {
        let metadata = value.get("metadata").cloned();
        match serde_path_to_error::deserialize(value) {
            Ok(object) => Some(object),
            Err(error) => {
                let path = error.path().to_string();
                let reason = Reason::InvalidField(error.into_inner().to_string());
                self.problem(self::path(prefix, &path), reason);
                self.unreadable(kind, metadata);
                None
            }
        }
    }

    /// Adds an object of which at most the metadata is known, so that its names are not
    /// denied.
    fn unreadable(&mut self, kind: Kind, metadata: Option<Value>) {
        let metadata = serde_json::from_value(metadata.unwrap_or_default());
        let known = metadata.ok().and_then(|of| convert::unreadable(kind, of));
        self.documents.objects.extend(known);
    }

    /// Converts an object to its slim form and adds it. The object's problems name file and
    /// document, too.
    fn add<T>(
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
