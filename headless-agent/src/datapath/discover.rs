//! Hears by rtnetlink that interfaces or routes changed, and reads how they are.
//!
//! An event only says which interface to read. The agent acts on the state that it reads after
//! the event. So an event that comes late or is lost cannot make the agent act on a state that
//! is over.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use futures::channel::mpsc::UnboundedReceiver;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::route::RouteMessage;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{AsyncSocket as _, SocketAddr};
use rtnetlink::constants::{RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_ROUTE, RTMGRP_LINK};
use rtnetlink::{Error, Handle, new_connection};
use tokio::task::JoinSet;
use tracing::{debug, warn};

use super::links::{self, Link};
use super::routes;

/// Bytes of events that may wait in the kernel while programs are attached. The default
/// of 208 KiB holds some fifty events, fewer than ten pods that start together cause.
const EVENTS_BYTES: u32 = 1 << 20;

/// The interfaces and routes to read again after events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// Whether to read every interface.
    pub all: bool,
    /// Indices of the interfaces to read.
    pub links: BTreeSet<u32>,
    /// Whether to read the default routes.
    pub routes: bool,
}

impl News {
    /// Every interface, and the default routes.
    pub fn everything() -> Self {
        Self {
            all: true,
            routes: true,
            links: BTreeSet::new(),
        }
    }

    /// Every interface.
    pub fn of_links() -> Self {
        Self {
            all: true,
            ..Self::default()
        }
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn add(&mut self, message: NetlinkMessage<RouteNetlinkMessage>) {
        match message.payload {
            NetlinkPayload::InnerMessage(message) => self.add_event(&message),
            NetlinkPayload::Overrun(_) => {
                warn!("the kernel dropped link events, looking at every interface");
                *self = Self::everything();
            }
            other => debug!(?other, "netlink message ignored"),
        }
    }

    fn add_event(&mut self, event: &RouteNetlinkMessage) {
        match event {
            RouteNetlinkMessage::NewLink(link) | RouteNetlinkMessage::DelLink(link)
                if links::is_of_link(link) =>
            {
                self.links.insert(link.header.index);
            }
            RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route)
                if routes::is_default(route) =>
            {
                self.routes = true;
            }
            _ => {}
        }
    }
}

/// The kernel's view of this network namespace, and its events.
#[derive(Debug)]
pub struct Watcher {
    events: UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>,
    requests: Handle,
    _connections: JoinSet<()>,
}

impl Watcher {
    /// Subscribes to the events. Must be called within a runtime, which carries the
    /// connections.
    pub fn connect() -> anyhow::Result<Self> {
        // Events and requests have a socket each, so that a burst of events cannot
        // take the answer of a request with it.
        let context = "cannot open a netlink socket";
        let (mut listener, _unused, events) = new_connection().context(context)?;
        let socket = listener.socket_mut().socket_mut();
        let groups = RTMGRP_LINK | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE;
        socket
            .bind(&SocketAddr::new(0, groups))
            .context("cannot subscribe to the kernel's link and route events")?;
        if let Err(error) = socket.set_rx_buf_sz(EVENTS_BYTES) {
            warn!("the buffer of link events keeps its default size: {error}");
        }
        let (requester, requests, _unused) = new_connection().context(context)?;
        let mut connections = JoinSet::new();
        connections.spawn(listener);
        connections.spawn(requester);
        Ok(Self {
            events,
            requests,
            _connections: connections,
        })
    }

    /// The connection for other requests to rtnetlink.
    pub fn requests(&self) -> &Handle {
        &self.requests
    }

    /// Waits for events. Events that came together become one result. The future can be
    /// dropped, and the next call loses no event.
    pub async fn next(&mut self) -> anyhow::Result<News> {
        loop {
            let first = self.events.next().await;
            let (message, _) = first.context("the netlink socket of link events closed")?;
            let mut news = News::default();
            news.add(message);
            while let Some(Some((message, _))) = self.events.next().now_or_never() {
                news.add(message);
            }
            if !news.is_empty() {
                return Ok(news);
            }
        }
    }

    /// All interfaces by index.
    pub async fn links(&self) -> anyhow::Result<BTreeMap<u32, Link>> {
        let links = self.requests.link().get().execute();
        let links = links.try_filter_map(|message| async move {
            Ok(Link::from_message(&message).map(|link| (link.index, link)))
        });
        let links = links.try_collect().await;
        links.context("cannot list the network interfaces")
    }

    /// The interface of this index; `None` where there is none.
    pub async fn link(&self, index: u32) -> anyhow::Result<Option<Link>> {
        let request = self.requests.link().get().match_index(index);
        match request.execute().try_next().await {
            Ok(message) => Ok(message.as_ref().and_then(Link::from_message)),
            Err(Error::NetlinkError(error)) if error.raw_code() == -libc::ENODEV => Ok(None),
            Err(error) => Err(error).context(format!("cannot read the interface {index}")),
        }
    }

    /// The interfaces by which default routes send.
    pub async fn default_routes(&self) -> anyhow::Result<BTreeSet<u32>> {
        let mut found = BTreeSet::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut request = RouteMessage::default();
            request.header.address_family = family;
            let mut listed = self.requests.route().get(request).execute();
            while let Some(route) = listed.try_next().await.context("cannot list the routes")? {
                if routes::is_default(&route) {
                    found.extend(routes::interfaces(&route));
                }
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::NetlinkHeader;
    use netlink_packet_route::link::LinkMessage;
    use netlink_packet_route::route::{RouteHeader, RouteType};

    use super::*;

    fn link(index: u32, family: AddressFamily) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.interface_family = family;
        message
    }

    fn news(payloads: Vec<NetlinkPayload<RouteNetlinkMessage>>) -> News {
        let mut news = News::default();
        for payload in payloads {
            news.add(NetlinkMessage::new(NetlinkHeader::default(), payload));
        }
        news
    }

    #[test]
    fn events_say_where_to_look() {
        let inner = NetlinkPayload::InnerMessage;
        let unspec = AddressFamily::Unspec;
        let both = news(vec![
            inner(RouteNetlinkMessage::NewLink(link(3, unspec))),
            inner(RouteNetlinkMessage::DelLink(link(4, unspec))),
        ]);
        let links = BTreeSet::from([3, 4]);
        assert_eq!(
            both,
            News {
                links,
                ..News::default()
            }
        );
        let mut route = RouteMessage::default();
        route.header.kind = RouteType::Unicast;
        route.header.table = RouteHeader::RT_TABLE_MAIN;
        let routes = news(vec![inner(RouteNetlinkMessage::DelRoute(route.clone()))]);
        assert!(routes.routes && !routes.all);
        route.header.destination_prefix_length = 32;
        let others = news(vec![inner(RouteNetlinkMessage::NewRoute(route))]);
        assert!(others.is_empty(), "a pod's route");
    }

    #[test]
    fn what_happens_to_a_bridges_port_is_no_news() {
        let bridge = || link(3, AddressFamily::Bridge);
        for message in [
            RouteNetlinkMessage::NewLink(bridge()),
            RouteNetlinkMessage::DelLink(bridge()),
        ] {
            assert!(news(vec![NetlinkPayload::InnerMessage(message)]).is_empty());
        }
    }

    #[test]
    fn lost_events_may_have_been_about_anything() {
        let found = news(vec![NetlinkPayload::Overrun(Vec::new())]);
        assert_eq!(found, News::everything());
    }
}
