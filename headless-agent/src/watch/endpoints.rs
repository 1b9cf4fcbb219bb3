//! The endpoints of a slice in little memory.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

/// One address of a ready endpoint, before it is one of [`SliceEndpoints`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The address. An IPv4 address that is mapped into IPv6 is kept as IPv4.
    pub address: IpAddr,
    /// The endpoint's label, never empty; `None` where the label is
    /// [`dashed_address`](super::objects::dashed_address). It may contain dots where it is a
    /// pod's name.
    pub name: Option<Box<str>>,
}

/// The endpoints of a slice.
///
/// Most endpoints have an IPv4 address and go by it. Such an endpoint takes four bytes; one
/// more pointer and the length of a name would make 40 bytes of it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SliceEndpoints {
    addresses: Addresses,
    /// `None` if no endpoint has a name.
    names: Option<Box<Names>>,
}

/// The addresses, as IPv4 addresses if they all are.
#[derive(Clone, PartialEq, Eq)]
enum Addresses {
    Ipv4(Box<[Ipv4Addr]>),
    Any(Box<[IpAddr]>),
}

impl Default for Addresses {
    fn default() -> Self {
        Self::Ipv4(Box::default())
    }
}

/// The names of all endpoints, one behind the other. An endpoint without a name has the empty
/// one.
#[derive(Clone, Default, PartialEq, Eq)]
struct Names {
    text: Box<str>,
    /// The end of each name in `text`.
    ends: Box<[u32]>,
}

/// An endpoint of a slice: [`Endpoint`] with a borrowed name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EndpointView<'a> {
    /// See [`Endpoint::address`].
    pub address: IpAddr,
    /// See [`Endpoint::name`].
    pub name: Option<&'a str>,
}

impl SliceEndpoints {
    /// Number of endpoints.
    pub fn len(&self) -> usize {
        match &self.addresses {
            Addresses::Ipv4(addresses) => addresses.len(),
            Addresses::Any(addresses) => addresses.len(),
        }
    }

    /// Bytes that they take.
    pub(super) fn bytes(&self) -> usize {
        let addresses = match &self.addresses {
            Addresses::Ipv4(addresses) => size_of_val(&**addresses),
            Addresses::Any(addresses) => size_of_val(&**addresses),
        };
        let names = self.names.as_deref();
        addresses + names.map_or(0, |names| names.text.len() + size_of_val(&*names.ends))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The endpoint at this place, which must be less than [`Self::len`].
    pub fn at(&self, place: usize) -> EndpointView<'_> {
        let address = match &self.addresses {
            Addresses::Ipv4(addresses) => IpAddr::V4(addresses[place]),
            Addresses::Any(addresses) => addresses[place],
        };
        let name = self.names.as_deref().map(|names| names.at(place));
        let name = name.filter(|name| !name.is_empty());
        EndpointView { address, name }
    }

    /// All endpoints, in their order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = EndpointView<'_>> + Clone {
        (0..self.len()).map(|place| self.at(place))
    }
}

impl Names {
    fn at(&self, place: usize) -> &str {
        let end = |place: usize| self.ends[place] as usize;
        &self.text[place.checked_sub(1).map_or(0, end)..end(place)]
    }
}

impl From<&[Endpoint]> for SliceEndpoints {
    fn from(endpoints: &[Endpoint]) -> Self {
        let addresses = endpoints.iter().map(|endpoint| endpoint.address);
        let ipv4 = addresses.clone().map(|address| match address {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        });
        let addresses = match ipv4.collect() {
            Some(ipv4) => Addresses::Ipv4(ipv4),
            None => Addresses::Any(addresses.collect()),
        };
        let names = endpoints.iter().map(|endpoint| endpoint.name.as_deref());
        let has_names = names.clone().any(|name| name.is_some());
        let names = has_names.then(|| {
            let names = names.map(Option::unwrap_or_default);
            let mut end = 0;
            Box::new(Names {
                text: names.clone().collect(),
                ends: names
                    .map(|name| {
                        end += name.len() as u32;
                        end
                    })
                    .collect(),
            })
        });
        Self { addresses, names }
    }
}

impl<const N: usize> From<[Endpoint; N]> for SliceEndpoints {
    fn from(endpoints: [Endpoint; N]) -> Self {
        endpoints.as_slice().into()
    }
}

impl FromIterator<Endpoint> for SliceEndpoints {
    fn from_iter<T: IntoIterator<Item = Endpoint>>(endpoints: T) -> Self {
        let endpoints: Vec<_> = endpoints.into_iter().collect();
        endpoints.as_slice().into()
    }
}

impl fmt::Debug for SliceEndpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Endpoints of these addresses and names.
    fn endpoints(all: &[(&str, &str)]) -> Vec<Endpoint> {
        let endpoint = |(address, name): &(&str, &str)| Endpoint {
            address: address.parse().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            name: (!name.is_empty()).then(|| (*name).into()),
        };
        all.iter().map(endpoint).collect()
    }

    #[test]
    fn endpoints_are_as_they_were_given() {
        for all in [
            &[][..],
            &[("10.0.0.1", ""), ("10.0.0.2", "")],
            &[("10.0.0.1", ""), ("10.0.0.2", "web-1"), ("10.0.0.3", "")],
            &[("10.0.0.1", "a"), ("fd00::1", "bc")],
            &[("fd00::1", ""), ("10.0.0.1", "ü"), ("10.0.0.1", "b")],
        ] {
            let given = endpoints(all);
            let kept = SliceEndpoints::from(given.as_slice());
            let view = |endpoint: &Endpoint| (endpoint.address, endpoint.name.clone());
            let given: Vec<_> = given.iter().map(view).collect();
            let found = kept.iter().map(|at| (at.address, at.name.map(Into::into)));
            assert_eq!(found.collect::<Vec<_>>(), given);
            assert_eq!((kept.len(), kept.is_empty()), (all.len(), all.is_empty()));
        }
    }

    #[test]
    fn equal_endpoints_are_equal_only() {
        let of = |all: &[(&str, &str)]| SliceEndpoints::from(endpoints(all).as_slice());
        let one = of(&[("10.0.0.1", "a"), ("10.0.0.2", "bc")]);
        assert_eq!(one, of(&[("10.0.0.1", "a"), ("10.0.0.2", "bc")]));
        assert_ne!(one, of(&[("10.0.0.1", "ab"), ("10.0.0.2", "c")]));
        assert_ne!(one, of(&[("10.0.0.1", ""), ("10.0.0.2", "")]));
        assert_ne!(one, of(&[("10.0.0.1", "a"), ("10.0.0.3", "bc")]));
    }
}
