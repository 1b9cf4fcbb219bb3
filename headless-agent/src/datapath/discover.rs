//! Follows the node's interfaces by rtnetlink.

use std::time::Duration;

use anyhow::Context as _;
use futures::{StreamExt as _, TryStreamExt as _};
use netlink_packet_core::NetlinkPayload;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{AsyncSocket as _, SocketAddr};
use rtnetlink::{Handle, constants::RTMGRP_LINK, new_connection};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tracing::{debug, warn};

use super::links::Link;

/// What happens to interfaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// All interfaces there are: what is not listed is gone.
    Listed(Vec<Link>),
    /// An interface is new or has changed.
    Changed(Link),
    /// The interface of this index is gone.
    Gone(u32),
}

/// Sends the interfaces of this network namespace, then every change, until the
/// receiver is gone. Where the kernel had to drop events (`ENOBUFS`), and at every
/// `interval`, the whole list is sent again: a peer that moves to another namespace
/// does not always cause an event on this end, and counted bytes never do.
pub async fn follow(events: mpsc::Sender<LinkEvent>, interval: Duration) -> anyhow::Result<()> {
    // Events and requests have a socket each, so that a burst of events cannot
    // take the answer of a request with it.
    let (mut connection, _unused, mut messages) =
        new_connection().context("cannot open a netlink socket")?;
    connection
        .socket_mut()
        .socket_mut()
        .bind(&SocketAddr::new(0, RTMGRP_LINK))
        .context("cannot subscribe to the kernel's link events")?;
    let (requests, handle, _unused) = new_connection().context("cannot open a netlink socket")?;
    let (listener, requester) = (tokio::spawn(connection), tokio::spawn(requests));
    // Subscribed first, listed second: nothing falls in between.
    let mut relist = tokio::time::interval(interval);
    relist.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let result = loop {
        let event = tokio::select! {
            _ = relist.tick() => LinkEvent::Listed(list(&handle).await?),
            message = messages.next() => match message {
                None => break Err(anyhow::anyhow!("the netlink socket of link events closed")),
                Some((message, _)) => match message.payload {
                    NetlinkPayload::Overrun(_) => {
                        warn!("link events were lost, listing the interfaces anew");
                        LinkEvent::Listed(list(&handle).await?)
                    }
                    NetlinkPayload::InnerMessage(message) => match event(&message) {
                        Some(event) => event,
                        None => continue,
                    },
                    other => {
                        debug!(?other, "netlink message ignored");
                        continue;
                    }
                },
            },
        };
        if events.send(event).await.is_err() {
            break Ok(());
        }
    };
    listener.abort();
    requester.abort();
    result
}

fn event(message: &RouteNetlinkMessage) -> Option<LinkEvent> {
    match message {
        RouteNetlinkMessage::NewLink(message) => {
            Link::from_message(message).map(LinkEvent::Changed)
        }
        RouteNetlinkMessage::DelLink(message) => Some(LinkEvent::Gone(message.header.index)),
        _ => None,
    }
}

/// All interfaces of this network namespace.
async fn list(handle: &Handle) -> anyhow::Result<Vec<Link>> {
    handle
        .link()
        .get()
        .execute()
        .try_filter_map(|message| async move { Ok(Link::from_message(&message)) })
        .try_collect()
        .await
        .context("cannot list the network interfaces")
}
