//! Watches, with or without the objects there are at the start (KEP-3157).

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use futures::{StreamExt as _, stream};
use serde_json::json;

use super::object::{Labels, Resource, line};
use super::selection::Selection;
use super::store::Store;

/// Bytes that are written at once.
const CHUNK: usize = 128 * 1024;

/// The events of a watch.
pub(super) fn watch(store: Arc<Store>, selection: Selection, parameters: &Labels) -> Body {
    let get = |name: &str| parameters.get(name).map(String::as_str);
    let all = get("sendInitialEvents") == Some("true");
    let since = get("resourceVersion").and_then(|version| version.parse().ok());
    let (opening, since) = match since {
        Some(since) if !all && since != 0 => (Vec::new(), since),
        _ => {
            let page = store.all(&selection);
            let mut lines = page.lines;
            if all {
                lines.push(bookmark(selection.resource, page.version));
            }
            (lines, page.version)
        }
    };
    let changes = store.changes();
    let rest = stream::unfold(
        (store, changes, since),
        move |(store, mut changes, since)| {
            let selection = selection.clone();
            async move {
                let mut since = since;
                loop {
                    let (lines, now) = store.later(&selection, since);
                    since = now;
                    if !lines.is_empty() {
                        return Some((lines.concat().into(), (store, changes, since)));
                    }
                    changes.wait_for(|version| *version > since).await.ok()?;
                }
            }
        },
    );
    let opening = stream::iter(Chunks(opening.into_iter()));
    Body::from_stream(opening.chain(rest).map(Ok::<Bytes, Infallible>))
}

/// Says that all objects there are have been sent.
fn bookmark(resource: Resource, version: u64) -> Bytes {
    let (_, kind, api_version) = resource.names();
    let bookmark = json!({
        "kind": kind,
        "apiVersion": api_version,
        "metadata": {
            "resourceVersion": version.to_string(),
            "annotations": { "k8s.io/initial-events-end": "true" },
        },
    });
    line("BOOKMARK", &bookmark.to_string())
}

/// Joins lines to chunks of at least [`CHUNK`] bytes.
struct Chunks(std::vec::IntoIter<Bytes>);

impl Iterator for Chunks {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let mut chunk = Vec::new();
        while chunk.len() < CHUNK
            && let Some(line) = self.0.next()
        {
            chunk.extend_from_slice(&line);
        }
        (!chunk.is_empty()).then(|| chunk.into())
    }
}
