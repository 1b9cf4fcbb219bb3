//! Samples: one page of the objects of each watch, and the number of all its objects. The
//! size of the cluster is estimated from samples while the watches still read their
//! lists.

use std::sync::Arc;

use anyhow::Context as _;
use futures::future::{BoxFuture, try_join_all};
use futures::{AsyncReadExt as _, FutureExt as _};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ListMeta;
use kube::api::ListParams;
use kube::core::Request;
use kube::runtime::watcher::Config;
use kube::{Api, Client};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::value::RawValue;
use tokio::task::spawn_blocking;

use super::super::sample::{Sample, Total};
use super::super::{Object, Problems};
use super::follow::Watch;
use super::merge::Scope;
use super::watches::{self, Selection, SliceSelection, Watched, Watches};

/// Objects on a page: as many as other clients ask for at once, or fewer where the page has too
/// many bytes. An object has up to 1.5 MB.
const PAGES: [u32; 3] = [500, 50, 5];

/// Most bytes of a page. The pages of all watches are read at the same time.
const PAGE_BYTES_MAX: u64 = 8 << 20;

/// Samples of every watch, Namespaces and Services first. An object of which no part can
/// be used is counted and left out.
///
/// # Errors
/// Where the server does not answer a request, or not with a list.
pub async fn samples(client: Client, selection: &Selection) -> anyhow::Result<Vec<Sample>> {
    let mut asking = Asking {
        client,
        slices: selection.slices,
        samples: Vec::new(),
    };
    watches::each(selection, &mut asking);
    try_join_all(asking.samples).await
}

/// Requests for the samples.
struct Asking {
    client: Client,
    slices: SliceSelection,
    samples: Vec<BoxFuture<'static, anyhow::Result<Sample>>>,
}

impl Watches for Asking {
    fn take<K: Watched>(
        &mut self,
        watch: Watch,
        api: impl FnOnce(Client) -> Api<K>,
        config: Config,
        convert: impl Fn(&K, &mut Problems) -> Option<Object> + Send + Sync + 'static,
    ) {
        let client = self.client.clone();
        let url = api(client.clone()).resource_url().to_owned();
        let headless = watch.scope == Some(Scope::Main) && self.slices == SliceSelection::Headless;
        let sample = async move {
            let sample = sample(&client, &url, &config, convert).await;
            let sample = sample.with_context(|| format!("cannot list {}", watch.resource))?;
            Ok(Sample { headless, ..sample })
        };
        self.samples.push(sample.boxed());
    }
}

/// A sample of the objects below `url` that `config` selects.
async fn sample<K, C>(
    client: &Client,
    url: &str,
    config: &Config,
    convert: C,
) -> anyhow::Result<Sample>
where
    K: DeserializeOwned + 'static,
    C: Fn(&K, &mut Problems) -> Option<Object> + Send + Sync + 'static,
{
    let convert = Arc::new(convert);
    let mut found = None;
    for limit in PAGES {
        let selected = ListParams {
            label_selector: config.label_selector.clone(),
            field_selector: config.field_selector.clone(),
            limit: Some(limit),
            ..ListParams::default()
        };
        let convert = Arc::clone(&convert);
        let convert = move |object: &K, problems: &mut Problems| convert(object, problems);
        found = page(client, url, &selected, convert).await?;
        if found.is_some() {
            break;
        }
    }
    let page = found.context("its shortest page is too long")?;
    let total = match page.beyond {
        Beyond::Nothing => Total::Exactly(page.read),
        Beyond::Objects(count) => Total::Exactly(page.read + count),
        Beyond::Uncounted => {
            let one = ListParams::default().limit(1);
            let first = self::page(client, url, &one, |_: &IgnoredAny, _| None).await?;
            let first = first.context("its first object is too long")?;
            match first.beyond {
                Beyond::Nothing => Total::AtMost(page.read),
                Beyond::Objects(count) => Total::AtMost(first.read + count),
                Beyond::Uncounted => anyhow::bail!("the API server does not say how many"),
            }
        }
    };
    Ok(Sample {
        objects: page.objects,
        read: page.read,
        total,
        headless: false,
    })
}

/// One page of a list.
#[derive(Debug)]
struct Page {
    /// The usable objects on it.
    objects: Vec<Object>,
    /// How many objects are on it.
    read: u64,
    /// The rest of the list.
    beyond: Beyond,
}

/// The objects of a list that are not on its first page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beyond {
    /// Nothing.
    Nothing,
    /// This many objects.
    Objects(u64),
    /// Some objects. The server does not count what a selector leaves
    /// (`remainingItemCount` of `ListMeta`).
    Uncounted,
}

impl From<ListMeta> for Beyond {
    fn from(metadata: ListMeta) -> Self {
        if metadata.continue_.is_none_or(|token| token.is_empty()) {
            return Self::Nothing;
        }
        let count = metadata.remaining_item_count;
        let count = count.and_then(|count| u64::try_from(count).ok());
        count.map_or(Self::Uncounted, Self::Objects)
    }
}

/// A page. `None` where it has more than [`PAGE_BYTES_MAX`] bytes.
async fn page<K, C>(
    client: &Client,
    url: &str,
    params: &ListParams,
    convert: C,
) -> anyhow::Result<Option<Page>>
where
    K: DeserializeOwned + 'static,
    C: Fn(&K, &mut Problems) -> Option<Object> + Send + 'static,
{
    let stream = client
        .request_stream(Request::new(url).list(params)?)
        .await?;
    let mut bytes = Vec::new();
    let mut stream = std::pin::pin!(stream.take(PAGE_BYTES_MAX + 1));
    stream.read_to_end(&mut bytes).await?;
    if bytes.len() as u64 > PAGE_BYTES_MAX {
        return Ok(None);
    }
    // A large page takes longer than other tasks should wait.
    let page = spawn_blocking(move || read(&bytes, convert)).await??;
    Ok(Some(page))
}

/// A list as the API server writes it. Go writes a list without objects as null where nobody has
/// made it. The objects are read one after the other, because each takes several times as much
/// memory as its text.
#[derive(Deserialize)]
struct List<'a> {
    #[serde(default)]
    metadata: ListMeta,
    #[serde(borrow)]
    items: Option<Vec<&'a RawValue>>,
}

/// Reads a page.
fn read<K, C>(text: &[u8], convert: C) -> serde_json::Result<Page>
where
    K: DeserializeOwned,
    C: Fn(&K, &mut Problems) -> Option<Object>,
{
    let List { metadata, items } = serde_json::from_slice(text)?;
    let items = items.unwrap_or_default();
    let mut objects = Vec::new();
    for item in &items {
        let item: K = serde_json::from_str(item.get())?;
        // The watch reports the problems.
        objects.extend(convert(&item, &mut Problems::default()));
    }
    Ok(Page {
        objects,
        read: items.len() as u64,
        beyond: metadata.into(),
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use axum::http::{Request, Response};
    use kube::client::Body;
    use serde_json::{Value, json};
    use tower::BoxError;

    use super::super::super::{Keep, ServiceRef};
    use super::*;

    fn selection(slices: SliceSelection) -> Selection {
        Selection {
            slices,
            pods: true,
            cluster_dns: ServiceRef {
                namespace: "kube-system".into(),
                name: "kube-dns".into(),
            },
            keep: Keep::default(),
        }
    }

    fn list(metadata: &Value, items: &[Value]) -> Value {
        json!({ "kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items })
    }

    fn object(name: &str) -> Value {
        json!({ "metadata": { "name": name, "namespace": "default" } })
    }

    /// The answer of a server that has more than one page of each list.
    fn answer(path: &str, query: &str) -> Value {
        let selects = query.contains("Selector=");
        let one = [object("one")];
        match (path, selects) {
            ("/api/v1/namespaces", _) => list(&json!({ "resourceVersion": "7" }), &one),
            (_, true) => list(&json!({ "continue": "x" }), &one),
            ("/api/v1/services", _) => {
                let odd = [object("one"), object("not a name")];
                list(&json!({ "continue": "x", "remainingItemCount": 8 }), &odd)
            }
            _ => list(&json!({ "continue": "x", "remainingItemCount": 99 }), &one),
        }
    }

    fn server(answer: fn(&str, &str) -> Value) -> Client {
        let service = tower::service_fn(move |request: Request<Body>| async move {
            let uri = request.uri();
            let query = uri.query().unwrap_or_default();
            let body = answer(uri.path(), query).to_string();
            Ok::<_, BoxError>(Response::new(Body::from(body.into_bytes())))
        });
        Client::new(service, "default")
    }

    /// Objects in the sample, objects read, and the total.
    fn outline(sample: &Sample) -> (usize, u64, Total) {
        (sample.objects.len(), sample.read, sample.total)
    }

    #[tokio::test]
    async fn a_page_of_each_watch_is_read_and_the_rest_is_counted() {
        use Total::{AtMost, Exactly};
        let found = samples(server(answer), &selection(SliceSelection::Headless))
            .await
            .unwrap();
        let outlines: Vec<_> = found.iter().map(outline).collect();
        let slices = (1, 1, AtMost(100));
        let expected = [
            (1, 1, Exactly(1)),
            (1, 2, Exactly(10)),
            slices,
            slices,
            slices,
            (1, 1, AtMost(100)),
        ];
        assert_eq!(outlines, expected);
        let headless: Vec<_> = found.iter().map(|sample| sample.headless).collect();
        assert_eq!(headless, [false, false, true, false, false, false]);
        // Without a selector the server counts the slices itself.
        let found = samples(server(answer), &selection(SliceSelection::All))
            .await
            .unwrap();
        assert_eq!(outline(&found[2]), (1, 1, Exactly(100)));
        assert!(!found[2].headless);
    }

    #[tokio::test]
    async fn an_answer_that_does_not_help_is_an_error() {
        let silent = |_: &str, _: &str| list(&json!({ "continue": "x" }), &[]);
        let error = samples(server(silent), &selection(SliceSelection::Headless)).await;
        let error = format!("{:#}", error.unwrap_err());
        assert!(error.contains("does not say how many"), "{error}");
        let broken = |_: &str, _: &str| json!({ "items": 7 });
        let error = samples(server(broken), &selection(SliceSelection::Headless)).await;
        let error = format!("{:#}", error.unwrap_err());
        // All lists are asked for at once, so any of them may be the first to fail.
        assert!(error.contains("cannot list "), "{error}");
    }

    #[tokio::test]
    async fn a_page_that_is_too_long_is_asked_for_with_fewer_objects() {
        let large = |path: &str, query: &str| {
            let limit = query
                .split('&')
                .find_map(|pair| pair.strip_prefix("limit="));
            let limit: u64 = limit.unwrap().parse().unwrap();
            if path != "/api/v1/services" {
                return list(&json!({}), &[]);
            }
            let mut item = object("large");
            item["metadata"]["annotations"] = json!({ "a": "a".repeat(1 << 20) });
            let items = vec![item; limit.min(20) as usize];
            list(
                &json!({ "continue": "x", "remainingItemCount": 995 }),
                &items,
            )
        };
        let found = samples(server(large), &selection(SliceSelection::Headless))
            .await
            .unwrap();
        assert_eq!(outline(&found[1]), (5, 5, Total::Exactly(1000)));
    }

    #[test]
    fn a_list_without_objects_may_be_null() {
        let text = r#"{"items":null,"metadata":{"resourceVersion":"1"}}"#;
        let page = read(text.as_bytes(), |_: &IgnoredAny, _| None).unwrap();
        assert_eq!((page.read, page.beyond), (0, Beyond::Nothing));
    }
}
