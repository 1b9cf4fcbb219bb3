//! Lists, whole and by pages, as an API server answers them (`limit`, `continue` and
//! `remainingItemCount` of the Kubernetes API's concepts, "Retrieving large results sets
//! in chunks").

use axum::body::Bytes;
use serde_json::{Value, json};

use super::object::{Labels, object};
use super::selection::Selection;
use super::store::{Page, Store};

/// The body of an answer, or the status and body of a refusal.
pub(super) type Answer = Result<Bytes, (u16, String)>;

/// Answers a list.
///
/// # Errors
/// When a parameter has no meaning, or an object has changed since the first page: this
/// server keeps no older versions, as an API server does not after five minutes.
pub(super) fn list(store: &Store, selection: &Selection, parameters: &Labels) -> Answer {
    let get = |name: &str| parameters.get(name).map(String::as_str);
    let limit = match get("limit").unwrap_or("0").parse() {
        // The watch cache answers version 0, and gives the whole list.
        Ok(0) => usize::MAX,
        Ok(_) if get("resourceVersion") == Some("0") => usize::MAX,
        Ok(limit) => limit,
        Err(error) => return Err(refusal(400, "BadRequest", &format!("limit: {error}"))),
    };
    let Some(token) = get("continue").filter(|token| !token.is_empty()) else {
        return Ok(render(selection, store.page(selection, None, limit)));
    };
    let Some((version, after)) = read_token(token) else {
        let message = "continue key is not valid";
        return Err(refusal(400, "BadRequest", message));
    };
    let page = store.page(selection, Some(after), limit);
    if page.version != version {
        let message = "The provided continue parameter is too old";
        return Err(refusal(410, "Expired", message));
    }
    Ok(render(selection, page))
}

fn render(selection: &Selection, page: Page) -> Bytes {
    let (_, kind, api_version) = selection.resource.names();
    let mut metadata = json!({"resourceVersion": page.version.to_string()});
    if let Some(last) = page.last {
        metadata["continue"] = token(page.version, &last).into();
        // Counting what a selector takes would mean reading all of it.
        if selection.selector.is_empty() {
            metadata["remainingItemCount"] = page.remaining.into();
        }
    }
    let objects: Vec<Bytes> = page.lines.iter().map(object).collect();
    let head = format!(
        "{{\"kind\":\"{kind}List\",\"apiVersion\":\"{api_version}\",\
         \"metadata\":{metadata},\"items\":["
    );
    let items = objects.join(b",".as_slice());
    [head.as_bytes(), &items, b"]}"].concat().into()
}

/// Where a list goes on. Clients do not look inside.
fn token(version: u64, (namespace, name): &(String, String)) -> String {
    format!("{version}/{namespace}/{name}")
}

fn read_token(token: &str) -> Option<(u64, (String, String))> {
    let (version, key) = token.split_once('/')?;
    let (namespace, name) = key.split_once('/')?;
    Some((version.parse().ok()?, (namespace.into(), name.into())))
}

fn refusal(code: u16, reason: &str, message: &str) -> (u16, String) {
    let status: Value = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure",
        "code": code, "reason": reason, "message": message,
    });
    (code, status.to_string())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::api::object::{Object, Resource};
    use std::sync::Arc;

    fn service(namespace: &str, name: &str) -> Object {
        let labels = Labels::from([("app".into(), name.into())]);
        Object::new(Resource::Services, namespace, name, labels, json!({}))
    }

    fn store() -> Arc<Store> {
        let store = Store::new();
        let names = [("b", "3"), ("a", "1"), ("b", "1"), ("a", "2"), ("b", "2")];
        store.put_all(names.map(|(namespace, name)| service(namespace, name)));
        store
    }

    fn selection(namespace: Option<&str>, selector: &str) -> Selection {
        Selection {
            resource: Resource::Services,
            namespace: namespace.map(str::to_owned),
            selector: selector.to_owned(),
        }
    }

    /// The names in a list, and its metadata.
    fn read(answer: Answer) -> (Vec<String>, Value) {
        let list: Value = serde_json::from_slice(&answer.unwrap()).unwrap();
        assert_eq!(list["kind"], "ServiceList");
        let items = list["items"].as_array().unwrap().iter();
        let text = |item: &Value, key: &str| item["metadata"][key].as_str().unwrap().to_owned();
        let names = items.map(|item| text(item, "namespace") + &text(item, "name"));
        (names.collect(), list["metadata"].clone())
    }

    fn ask(store: &Store, selection: &Selection, parameters: &[(&str, &str)]) -> Answer {
        let owned = parameters
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()));
        list(store, selection, &owned.collect())
    }

    #[test]
    fn pages_follow_each_other_to_the_end() {
        let (store, all) = (store(), selection(None, ""));
        let (names, metadata) = read(ask(&store, &all, &[("limit", "2")]));
        assert_eq!(names, ["a1", "a2"]);
        assert_eq!(metadata["remainingItemCount"], 3);
        assert_eq!(metadata["resourceVersion"], "5");
        let token = metadata["continue"].as_str().unwrap();
        let (names, metadata) = read(ask(&store, &all, &[("limit", "2"), ("continue", token)]));
        assert_eq!(names, ["b1", "b2"]);
        assert_eq!(metadata["remainingItemCount"], 1);
        let token = metadata["continue"].as_str().unwrap();
        let (names, metadata) = read(ask(&store, &all, &[("limit", "2"), ("continue", token)]));
        assert_eq!(names, ["b3"]);
        assert_eq!(metadata, json!({"resourceVersion": "5"}));
    }

    #[test]
    fn a_list_that_fits_has_no_continuation() {
        let (store, all) = (store(), selection(None, ""));
        let whole = json!({"resourceVersion": "5"});
        let at_once: [&[(&str, &str)]; 4] = [
            &[],
            &[("limit", "0")],
            &[("limit", "5")],
            &[("limit", "2"), ("resourceVersion", "0")],
        ];
        for parameters in at_once {
            let (names, metadata) = read(ask(&store, &all, parameters));
            assert_eq!(
                (names.len(), metadata),
                (5, whole.clone()),
                "{parameters:?}"
            );
        }
    }

    #[test]
    fn what_a_selector_leaves_is_not_counted() {
        let store = store();
        let (names, metadata) = read(ask(&store, &selection(None, "app=1"), &[("limit", "1")]));
        assert_eq!(names, ["a1"]);
        assert!(metadata["continue"].is_string());
        assert!(metadata.get("remainingItemCount").is_none());
        // A namespace is no selector.
        let (names, metadata) = read(ask(&store, &selection(Some("b"), ""), &[("limit", "1")]));
        assert_eq!(names, ["b1"]);
        assert_eq!(metadata["remainingItemCount"], 2);
    }

    #[test]
    fn a_continuation_ends_with_the_version() {
        let (store, all) = (store(), selection(None, ""));
        let (_, metadata) = read(ask(&store, &all, &[("limit", "2")]));
        let token = metadata["continue"].as_str().unwrap().to_owned();
        store.put_all([service("a", "2")]);
        let parameters = [("limit", "2"), ("continue", token.as_str())];
        let (code, status) = ask(&store, &all, &parameters).unwrap_err();
        assert_eq!(code, 410);
        assert!(status.contains("Expired"), "{status}");
        for bad in [("continue", "x"), ("limit", "-1")] {
            assert_eq!(ask(&store, &all, &[bad]).unwrap_err().0, 400, "{bad:?}");
        }
    }
}
