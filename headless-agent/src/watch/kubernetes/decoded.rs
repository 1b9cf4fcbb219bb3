//! Objects of the API server that always decode, so that no object ends a list or a watch.
//!
//! A failure to decode one object is an error of the whole page for `kube`, and one of the watch
//! for an event. The other objects would wait for an object that stays as it is.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::de::{DeserializeOwned, Deserializer};
use serde::{Deserialize, de};
use serde_json::value::RawValue;

use crate::selector::{Labels, Selector};

use super::super::{Excerpt, Kind, Object, Problem, Problems, Reason, convert};

/// An object as far as it decodes.
#[derive(Clone, Debug)]
pub(super) enum Decoded<K> {
    /// All fields that are read.
    Whole(K),
    /// Only the metadata: another field has a value of the wrong type.
    Metadata(Box<Undecodable>),
}

/// An object that does not decode.
#[derive(Clone, Debug)]
pub(super) struct Undecodable {
    /// Its metadata; without a name if the metadata do not decode either.
    metadata: ObjectMeta,
    /// The field with a value of the wrong type.
    field: String,
    /// The reason.
    error: Excerpt,
}

/// The metadata alone.
#[derive(Default, Deserialize)]
#[serde(default)]
struct OnlyMetadata {
    #[serde(deserialize_with = "convert::metadata")]
    metadata: ObjectMeta,
}

impl Undecodable {
    /// The object with this text, which does not decode as a `K`.
    fn new<K: DeserializeOwned>(text: &str, error: &serde_json::Error) -> Self {
        // Only a second look keeps track of the path, which takes time.
        let json = &mut serde_json::Deserializer::from_str(text);
        let path = serde_path_to_error::deserialize::<_, K>(json)
            .err()
            .map(|error| error.path().to_string());
        let OnlyMetadata { metadata } = serde_json::from_str(text).unwrap_or_default();
        Self {
            metadata,
            field: path.unwrap_or_default(),
            error: error.to_string().into(),
        }
    }
}

impl<K> Decoded<K> {
    /// The slim form that `convert` makes of the whole object. Of an object that does not decode,
    /// the form that denies none of its names; the failure is a problem.
    pub(super) fn slim(
        &self,
        kind: Kind,
        convert: impl Fn(&K, &mut Problems) -> Option<Object>,
        problems: &mut Problems,
    ) -> Option<Object> {
        let broken = |metadata| convert::unreadable(kind, metadata);
        self.slim_or(kind, convert, broken, problems)
    }

    /// The slim form that `convert` makes of the whole object. Of an object that does not decode,
    /// the form that `unreadable` makes of its metadata; the failure is a problem.
    pub(super) fn slim_or<T>(
        &self,
        kind: Kind,
        convert: impl Fn(&K, &mut Problems) -> Option<T>,
        unreadable: impl Fn(ObjectMeta) -> Option<T>,
        problems: &mut Problems,
    ) -> Option<T> {
        let broken = match self {
            Self::Whole(object) => return convert(object, problems),
            Self::Metadata(broken) => broken,
        };
        problems.add(Problem {
            object: convert::reference(kind, &broken.metadata).to_string(),
            field: broken.field.clone(),
            reason: Reason::InvalidField(broken.error.clone()),
        });
        unreadable(broken.metadata.clone())
    }
}

impl<'de, K: DeserializeOwned> Deserialize<'de> for Decoded<K> {
    /// Fails only where the text is not valid JSON. In an event the type must come before the
    /// object, as every API server writes it (`WatchEvent` in k8s.io/apimachinery): otherwise
    /// serde has taken the object apart before, and there is no text.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <&RawValue>::deserialize(deserializer).map_err(de::Error::custom)?;
        Ok(match serde_json::from_str(text.get()) {
            Ok(object) => Self::Whole(object),
            Err(error) => {
                let broken = Undecodable::new::<K>(text.get(), &error);
                Self::Metadata(Box::new(broken))
            }
        })
    }
}

/// An object with the text of all of its labels.
///
/// The text is kept because a tenant may give an object 1.5 MB of labels, which take many times as
/// much memory as a map. [`LabelsText::of`] makes a map of the few that decide.
#[derive(Clone, Debug)]
pub(super) struct Labelled<K> {
    /// The object.
    pub(super) object: Decoded<K>,
    /// Its labels.
    pub(super) labels: LabelsText,
}

/// The text of an object's labels; `None` without labels.
#[derive(Clone, Debug, Default)]
pub(super) struct LabelsText(Option<Box<RawValue>>);

impl LabelsText {
    /// The labels that decide whether `selector` chooses the object.
    pub(super) fn of(&self, selector: &Selector) -> Labels {
        let Some(text) = &self.0 else {
            return Labels::new();
        };
        let json = &mut serde_json::Deserializer::from_str(text.get());
        // The API server has no object whose labels are no map of texts.
        convert::labels(json, |key| selector.keys().any(|it| it == key)).unwrap_or_default()
    }
}

/// The labels alone.
#[derive(Default, Deserialize)]
#[serde(default)]
struct OnlyLabels {
    metadata: LabelsOfMetadata,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct LabelsOfMetadata {
    labels: Option<Box<RawValue>>,
}

impl<'de, K: DeserializeOwned> Deserialize<'de> for Labelled<K> {
    /// As [`Decoded`].
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <&RawValue>::deserialize(deserializer).map_err(de::Error::custom)?;
        let object = serde_json::from_str(text.get()).map_err(de::Error::custom)?;
        let OnlyLabels { metadata } = serde_json::from_str(text.get()).unwrap_or_default();
        let labels = LabelsText(metadata.labels);
        Ok(Self { object, labels })
    }
}

/// The associated items of [`Resource`] that name a type: its names are those of `$k`.
macro_rules! named_as {
    ($k:ident) => {
        type DynamicType = $k::DynamicType;
        type Scope = $k::Scope;

        fn kind(of: &Self::DynamicType) -> Cow<'_, str> {
            $k::kind(of)
        }

        fn group(of: &Self::DynamicType) -> Cow<'_, str> {
            $k::group(of)
        }

        fn version(of: &Self::DynamicType) -> Cow<'_, str> {
            $k::version(of)
        }

        fn plural(of: &Self::DynamicType) -> Cow<'_, str> {
            $k::plural(of)
        }
    };
}

impl<K: Resource> Resource for Labelled<K> {
    named_as!(K);

    fn meta(&self) -> &ObjectMeta {
        self.object.meta()
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.object.meta_mut()
    }
}

impl<K: Resource> Resource for Decoded<K> {
    named_as!(K);

    fn meta(&self) -> &ObjectMeta {
        match self {
            Self::Whole(object) => object.meta(),
            Self::Metadata(broken) => &broken.metadata,
        }
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match self {
            Self::Whole(object) => object.meta_mut(),
            Self::Metadata(broken) => &mut broken.metadata,
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::super::super::ServiceKind;
    use super::super::super::convert::ReadService;
    use super::*;

    /// The slim Service and its problems.
    fn slim(text: &str) -> (Option<Object>, Vec<String>) {
        let decoded: Decoded<ReadService> = serde_json::from_str(text).unwrap();
        let mut problems = Problems::default();
        let convert = |object: &ReadService, problems: &mut Problems| {
            convert::service(object, problems).map(Object::Service)
        };
        let slim = decoded.slim(Kind::Service, convert, &mut problems);
        let problems = problems.kept().iter().map(ToString::to_string);
        (slim, problems.collect())
    }

    #[test]
    fn an_object_that_does_not_decode_keeps_its_name() {
        let (object, problems) = slim(
            r#"{"metadata":{"name":"a","namespace":"b","resourceVersion":"7"},"spec":{"ports":[{"port":"x"}]}}"#,
        );
        let Some(Object::Service(service)) = object else {
            panic!("{object:?}");
        };
        assert_eq!((&*service.namespace, &*service.name), ("b", "a"));
        assert!(service.partial && service.kind == ServiceKind::Unserved);
        let [problem] = &*problems else {
            panic!("{problems:?}");
        };
        let expected = "Service b/a: spec.ports[0].port: invalid type: string \"x\", expected i32";
        assert!(problem.starts_with(expected), "{problem}");
    }

    #[test]
    fn labels_that_decide_are_read() {
        let text = r#"{"metadata":{"name":"a","namespace":"b","labels":{"x":"1","kubernetes.io/service-name":"s","y":"2"}}}"#;
        let read: Labelled<ReadService> = serde_json::from_str(text).unwrap();
        let labels = |selector: &str| read.labels.of(&selector.parse().unwrap());
        assert_eq!(labels("x,!z"), Labels::from([("x".into(), "1".into())]));
        assert!(labels("z").is_empty());
        assert_eq!(read.meta().name.as_deref(), Some("a"));
        let kept = read.meta().labels.as_ref().unwrap();
        assert_eq!(kept.len(), 1, "the metadata have the usual label alone");
        for text in [
            "{}",
            r#"{"metadata":{"labels":null}}"#,
            r#"{"metadata":null}"#,
            "7",
        ] {
            let read: Labelled<ReadService> = serde_json::from_str(text).unwrap();
            assert!(read.labels.of(&"x".parse().unwrap()).is_empty(), "{text}");
        }
    }

    #[test]
    fn an_object_of_another_shape_is_a_problem_too() {
        for text in ["7", "null", r#"{"metadata":{"name":7}}"#, "[]"] {
            let (object, problems) = slim(text);
            assert_eq!((object, problems.len()), (None, 1), "{text}");
        }
        assert!(serde_json::from_str::<Decoded<ReadService>>("{").is_err());
    }
}
