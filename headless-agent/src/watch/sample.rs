//! Samples: a first look at the cluster, from which its size is estimated.

use super::Object;

/// Some of the objects that one watch will list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The usable objects of the sample.
    pub objects: Vec<Object>,
    /// How many objects were read, usable or not.
    pub read: u64,
    /// How many objects there are.
    pub total: Total,
    /// Whether these are slices of headless Services alone.
    pub headless: bool,
}

/// How many objects a watch will list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Total {
    /// This many.
    Exactly(u64),
    /// This many or fewer. API servers do not count the objects of a selector.
    AtMost(u64),
}
