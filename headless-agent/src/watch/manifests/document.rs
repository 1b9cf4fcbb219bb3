//! From the text of a manifest to slim objects.
//!
//! The documents of a file are read one after the other. The memory that one document takes
//! with its aliases replaced is bounded.

use std::path::Path;
use std::{iter, mem};

use k8s_openapi::api::core::v1;
use k8s_openapi::api::discovery::v1 as discovery;
use kube::Resource;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::selector::Labels;
use crate::watch::convert::{ReadNamespace, ReadPod, ReadService, ReadSlice};
use crate::watch::{Keep, Kind, Object, Problem, Problems, Reason, convert};

/// The most bytes of a document: an object has at most 1.5 MiB (etcd's limit for a request),
/// a list may have more. A file of JSON counts as one document.
const DOCUMENT_MAX: usize = 4 << 20;

/// The most scalars, sequences and mappings of a document of YAML: one in eight bytes. Each
/// takes some 100 bytes of memory.
const NODES_MAX: usize = DOCUMENT_MAX / 8;

/// The deepest nesting of a document of YAML. The API's own objects have less than 32 levels.
const DEPTH_MAX: usize = 64;

/// The content of a file.
#[derive(Default)]
pub(super) struct Documents {
    pub(super) objects: Vec<Object>,
    pub(super) problems: Problems,
    /// Whether a part of the file is not valid YAML or JSON.
    pub(super) broken: bool,
}

/// Reads a file of YAML or JSON documents. A document that is not valid, or that decodes
/// to no usable object, is reported and left out.
pub(super) fn read(name: &str, text: &str, keep: &Keep) -> Documents {
    let mut documents = Documents::default();
    let json = Path::new(name).extension();
    if json.is_some_and(|kind| kind == "json") {
        documents.read_all(name, keep, json_values(text));
    } else {
        documents.read_all(name, keep, yaml_values(text));
    }
    documents
}

impl Documents {
    /// Reads the documents of a file.
    fn read_all(
        &mut self,
        name: &str,
        keep: &Keep,
        values: impl Iterator<Item = Result<Value, Reason>>,
    ) {
        for (number, value) in (1..).zip(values) {
            let place = format!("{name} document {number}");
            match value {
                Ok(value) => {
                    let mut reader = DocumentReader {
                        place,
                        keep,
                        documents: self,
                    };
                    reader.value("", value);
                }
                Err(reason) => {
                    self.broken = true;
                    self.problems.extend(Problem {
                        object: place,
                        field: String::new(),
                        reason,
                    });
                }
            }
        }
    }
}

fn too_large() -> Reason {
    Reason::TooLarge(format!("more than {} MiB", DOCUMENT_MAX >> 20).into())
}

/// The documents of a file of JSON. Ends with the first error.
fn json_values(text: &str) -> impl Iterator<Item = Result<Value, Reason>> {
    let fits = text.len() <= DOCUMENT_MAX;
    let refused = (!fits).then(|| Err(too_large()));
    let text = if fits { text } else { "" };
    let values = serde_json::Deserializer::from_str(text).into_iter();
    let values =
        values.map(|value| value.map_err(|error| Reason::Syntax(error.to_string().into())));
    refused.into_iter().chain(values)
}

/// The documents of a file of YAML that are not empty.
fn yaml_values(text: &str) -> impl Iterator<Item = Result<Value, Reason>> {
    let documents = split(text).filter(|(_, document)| !document.lines().all(is_blank));
    documents.map(|(first_line, document)| {
        if document.len() > DOCUMENT_MAX {
            return Err(too_large());
        }
        parse_yaml(document).map_err(|error| Reason::Syntax(of_file(&error, first_line).into()))
    })
}

/// An error's message, with the line of the file. `before`: the number of lines before the
/// document.
fn of_file(error: &serde_saphyr::Error, before: usize) -> String {
    let text = error.without_snippet().to_string();
    let of_file = error.location().and_then(|location| {
        let (line, column) = (location.line(), location.column());
        let message = text.strip_suffix(&format!(" at line {line}, column {column}"))?;
        let line = line + before as u64;
        Some(format!("{message} at line {line}, column {column}"))
    });
    of_file.unwrap_or_else(|| format!("in the document that begins at line {}: {text}", before + 1))
}

fn parse_yaml(text: &str) -> Result<Value, serde_saphyr::Error> {
    let options = serde_saphyr::options! {
        // The budget counts the content of an anchor again for each alias.
        budget: serde_saphyr::budget! {
            max_nodes: NODES_MAX,
            max_events: 3 * NODES_MAX,
            max_depth: DEPTH_MAX,
            max_total_scalar_bytes: DOCUMENT_MAX,
            max_recorded_anchor_events: NODES_MAX,
            max_recorded_anchor_bytes: DOCUMENT_MAX,
            // Aliases that make a document no larger do no harm.
            enforce_alias_anchor_ratio: false,
        },
        with_snippet: false,
        // kubectl and the API server refuse repeated keys, too.
        duplicate_keys: serde_saphyr::options::DuplicateKeyPolicy::Error,
    };
    serde_saphyr::from_str_with_options(text, options)
}

fn is_blank(line: &str) -> bool {
    let line = line.trim_start();
    line.is_empty() || line.starts_with('#')
}

/// The documents of a YAML stream with the number of lines before each. Every line that
/// starts with `---` begins a document: not even a block scalar may hold such a line (YAML
/// 1.2.2, section 9.1.2).
fn split(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut lines = text.split_inclusive('\n').enumerate();
    let (mut start, mut start_line, mut offset) = (0, 0, 0);
    let mut ended = false;
    iter::from_fn(move || {
        for (number, line) in lines.by_ref() {
            let at = offset;
            offset += line.len();
            let marker = line
                .strip_prefix("---")
                .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']));
            if marker {
                let document = (start_line, &text[start..at]);
                (start, start_line) = (at, number);
                // Text behind the marker is part of the document. A comment is not needed.
                let rest = line["---".len()..].trim();
                if rest.is_empty() || rest.starts_with('#') {
                    (start, start_line) = (offset, number + 1);
                }
                return Some(document);
            }
        }
        let last = !mem::replace(&mut ended, true);
        last.then(|| (start_line, &text[start..]))
    })
}

/// Turns values into objects.
struct DocumentReader<'a> {
    /// File and document.
    place: String,
    keep: &'a Keep,
    documents: &'a mut Documents,
}

/// The path of a field in a document.
fn path(prefix: &str, field: &str) -> String {
    let dot = if prefix.is_empty() { "" } else { "." };
    format!("{prefix}{dot}{field}")
}

impl DocumentReader<'_> {
    fn problem(&mut self, field: String, reason: Reason) {
        self.documents.problems.extend(Problem {
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
            let reason = Reason::InvalidField("not a mapping".into());
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
            Kind::NetworkPolicy | Kind::ConfigMap => return,
        };
        if version == expected {
            return self.object(prefix, known, Value::Object(map));
        }
        // An object of the same name in another group is another kind, which DNS does not
        // need.
        let group = |version: &str| version.rsplit_once('/').map(|(group, _)| group.to_owned());
        if group(&version) == group(expected) {
            let field = path(prefix, "apiVersion");
            self.problem(field, Reason::UnsupportedVersion(version.into()));
            self.unreadable(known, map.get("metadata").cloned());
        }
    }

    /// A required field that is a string. `None`, and a problem, where it is not.
    fn text(&mut self, prefix: &str, map: &Map<String, Value>, name: &str) -> Option<String> {
        let reason = match map.get(name) {
            Some(Value::String(text)) => return Some(text.clone()),
            Some(_) => Reason::InvalidField("not a string".into()),
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
                let reason = Reason::InvalidField("not a list".into());
                self.problem(path(prefix, "items"), reason);
            }
        }
    }

    /// Reads an object of a known kind and version.
    fn object(&mut self, prefix: &str, kind: Kind, value: Value) {
        match kind {
            Kind::NetworkPolicy | Kind::ConfigMap => {}
            Kind::Namespace => {
                let found = self.decode::<v1::Namespace>(prefix, kind, value);
                let found = found.map(|object| ReadNamespace::from(&object));
                self.add(found, |object, problems| {
                    convert::namespace(object, problems).map(Object::Namespace)
                });
            }
            Kind::Service => {
                let found = self.decode::<v1::Service>(prefix, kind, value);
                let found = found.map(|object| ReadService::from(&object));
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
                let found = found.map(|object| ReadPod::from(&object));
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
                let reason = Reason::InvalidField(error.into_inner().to_string().into());
                self.problem(self::path(prefix, &path), reason);
                self.unreadable(kind, metadata);
                None
            }
        }
    }

    /// Adds an object of which at most the metadata is known, so that its names are not
    /// denied.
    fn unreadable(&mut self, kind: Kind, metadata: Option<Value>) {
        let metadata = metadata.unwrap_or_default();
        // An object whose labels do not decode either has none.
        let labels = metadata.get("labels").cloned().unwrap_or_default();
        let labels: Option<Labels> = serde_json::from_value(labels).ok();
        let known = convert::metadata(metadata).ok();
        let known = known.and_then(|of| convert::unreadable(kind, of));
        let problems = &mut Problems::default();
        let known = self.keep.select(known, labels.as_ref(), problems);
        self.documents.objects.extend(known);
    }

    /// Converts an object to its slim form and adds it. The object's problems name file and
    /// document, too.
    fn add<T: Resource>(
        &mut self,
        object: Option<T>,
        slim: impl FnOnce(&T, &mut Problems) -> Option<Object>,
    ) {
        let Some(object) = object else { return };
        let mut problems = Problems::default();
        let slim = slim(&object, &mut problems);
        let labels = object.meta().labels.as_ref();
        let slim = self.keep.select(slim, labels, &mut problems);
        self.documents.objects.extend(slim);
        self.documents.problems.extend(problems.at(&self.place));
    }
}
