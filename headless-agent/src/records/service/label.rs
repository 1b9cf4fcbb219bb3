//! The label of an endpoint.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Deref;

use crate::watch::EndpointView;
use crate::watch::objects::dashed_address;

/// The most bytes of a dashed IPv4 address.
const DASHED_MAX: usize = "255-255-255-255".len();

/// The label of an endpoint (CoreDNS, `endpointHostname` in
/// `plugin/kubernetes/kubernetes.go`). It may have dots where it is a pod's name, and
/// capitals where it is made of an address that is written with capitals.
///
/// Labels are made whenever they are compared, and most are made of an IPv4 address. Such a
/// label takes no memory on the heap.
#[derive(Clone, Debug)]
pub(in crate::records) enum EndpointLabel<'a> {
    /// A name, or the dashed form of an IPv6 address.
    Text(Cow<'a, str>),
    /// The dashed form of an IPv4 address: the first bytes of the array, as many as the
    /// number says.
    Dashed([u8; DASHED_MAX], u8),
}

impl<'a> EndpointLabel<'a> {
    /// The label of an endpoint.
    pub(in crate::records) fn of(endpoint: EndpointView<'a>) -> Self {
        match (endpoint.name, endpoint.address) {
            (Some(name), _) => Self::Text(Cow::Borrowed(name)),
            (None, IpAddr::V4(address)) => Self::dashed(address),
            (None, address) => Self::Text(Cow::Owned(dashed_address(address))),
        }
    }

    /// The label in lower case, as questions are compared with it.
    pub(super) fn folded(endpoint: EndpointView<'a>) -> Self {
        if has_capitals(endpoint) {
            Self::Text(Cow::Owned(Self::of(endpoint).to_ascii_lowercase()))
        } else {
            Self::of(endpoint)
        }
    }

    /// The dashed form of an IPv4 address, as [`dashed_address`] writes it.
    pub(in crate::records) fn dashed(address: Ipv4Addr) -> Self {
        let mut bytes = [0; DASHED_MAX];
        let mut len = 0;
        let mut push = |byte| {
            bytes[len] = byte;
            len += 1;
        };
        for (i, octet) in address.octets().into_iter().enumerate() {
            if i > 0 {
                push(b'-');
            }
            if octet >= 100 {
                push(b'0' + octet / 100);
            }
            if octet >= 10 {
                push(b'0' + octet / 10 % 10);
            }
            push(b'0' + octet % 10);
        }
        Self::Dashed(bytes, len as u8)
    }
}

/// Whether the label of an endpoint has capitals. No label that is made of an address has.
pub(super) fn has_capitals(endpoint: EndpointView<'_>) -> bool {
    let name = endpoint.name.unwrap_or_default();
    name.bytes().any(|byte| byte.is_ascii_uppercase())
}

impl<'a> From<&'a str> for EndpointLabel<'a> {
    fn from(label: &'a str) -> Self {
        Self::Text(Cow::Borrowed(label))
    }
}

impl Deref for EndpointLabel<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Text(text) => text,
            // Digits and dashes are UTF-8.
            Self::Dashed(bytes, len) => {
                str::from_utf8(&bytes[..usize::from(*len)]).unwrap_or_default()
            }
        }
    }
}

impl fmt::Display for EndpointLabel<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl PartialEq for EndpointLabel<'_> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for EndpointLabel<'_> {}

impl PartialOrd for EndpointLabel<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for EndpointLabel<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        (**self).cmp(&**other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_of_an_address_is_its_dashed_form() {
        for octet in 0..=255 {
            for octets in [[octet, 0, 9, 10], [1, 99, 100, octet], [octet; 4]] {
                let endpoint = EndpointView {
                    address: IpAddr::from(octets),
                    name: None,
                };
                let expected = dashed_address(endpoint.address);
                assert_eq!(*EndpointLabel::of(endpoint), *expected);
                assert_eq!(*EndpointLabel::folded(endpoint), *expected);
            }
        }
    }

    #[test]
    fn a_name_with_capitals_is_folded() {
        let endpoint = EndpointView {
            address: IpAddr::from([10, 0, 0, 1]),
            name: Some("FD00--1"),
        };
        assert_eq!(&*EndpointLabel::of(endpoint), "FD00--1");
        assert_eq!(&*EndpointLabel::folded(endpoint), "fd00--1");
    }
}
