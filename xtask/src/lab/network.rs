//! Network namespaces and the wiring between a node and its pods.
//!
//! A pod is connected as the CNI plugin `ptp` connects it (`plugins/main/ptp`
//! of containernetworking/plugins): a veth pair, the node's gateway address on
//! every host end, a host route to the pod, and in the pod a default route
//! through the gateway.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::thread;

use anyhow::{Context as _, Result, anyhow, bail};
use futures::TryStreamExt as _;
use nix::sched::{CloneFlags, setns, unshare};
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::link::{InfoData, InfoVeth, LinkAttribute, LinkMessage, LinkXdp};
use rtnetlink::packet_route::route::RouteScope;
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};

/// The node's address on each pod's veth. It is the pods' default gateway.
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

/// A network namespace without a name. It lives as long as a descriptor of it is open, or a
/// process or thread is in it.
#[derive(Debug)]
pub(crate) struct Netns(OwnedFd);

impl Netns {
    /// The calling thread's namespace.
    pub(crate) fn current() -> Result<Self> {
        let file = File::open("/proc/thread-self/ns/net").context("cannot open /proc")?;
        Ok(Self(file.into()))
    }

    /// Makes a new namespace and sets its `lo` up.
    pub(crate) fn new() -> Result<Self> {
        on_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace")?;
            block_on(async { set_up(&connect()?, "lo").await.map(drop) })?;
            Self::current()
        })
    }

    /// Runs `work` on a thread of its own in this namespace. What `work` opens
    /// there (sockets, netlink connections) stays there.
    ///
    /// # Errors
    /// The error of `work`, or when the namespace cannot be entered.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        on_thread(|| {
            setns(&self.0, CloneFlags::CLONE_NEWNET).context("cannot enter a network namespace")?;
            work()
        })
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Runs `work` on a new thread, which it may move to other namespaces.
pub(crate) fn on_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let thread = scope.spawn(work);
        thread.join().map_err(|_| anyhow!("a thread panicked"))?
    })
}

/// Prepares the current network namespace as a node's: `lo` up with the given
/// addresses, packets forwarded between pods.
///
/// # Errors
/// When the kernel refuses an address or a setting.
pub(crate) fn set_up_node(addresses: &[Ipv4Addr]) -> Result<()> {
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("cannot turn IP forwarding on")?;
    on_thread(|| {
        block_on(async {
            let handle = connect()?;
            let lo = set_up(&handle, "lo").await?;
            for address in addresses {
                add_address(&handle, lo, *address)
                    .await
                    .with_context(|| format!("cannot add {address} to lo"))?;
            }
            Ok(())
        })
    })
}

/// Connects the namespace `pod` to the namespace `node` by a veth pair. The end in the node
/// is called `host_end`, the end in the pod is `eth0` and has `address`.
///
/// # Errors
/// When the kernel refuses a link, an address or a route.
pub(crate) fn connect_pod(
    node: &Netns,
    host_end: &str,
    pod: &Netns,
    address: Ipv4Addr,
) -> Result<()> {
    node.run(|| block_on(add_host_end(host_end, pod, address)))
        .with_context(|| format!("cannot set up {host_end}"))?;
    pod.run(|| block_on(set_up_pod_end(address)))
        .with_context(|| format!("cannot set up eth0 of the pod behind {host_end}"))
}

async fn add_host_end(name: &str, pod: &Netns, address: Ipv4Addr) -> Result<()> {
    let handle = connect()?;
    // The peer is made inside the pod, so its name cannot clash with one in the node.
    let peer = LinkMessageBuilder::<LinkUnspec>::new()
        .name("eth0".to_owned())
        .setns_by_fd(pod.as_fd().as_raw_fd())
        .build();
    let pair = LinkVeth::new(name, "eth0").set_info_data(InfoData::Veth(InfoVeth::Peer(peer)));
    handle.link().add(pair.build()).execute().await?;
    let index = set_up(&handle, name).await?;
    add_address(&handle, index, GATEWAY).await?;
    let to_pod = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(address, 32)
        .output_interface(index)
        .scope(RouteScope::Link)
        .pref_source(GATEWAY);
    handle.route().add(to_pod.build()).execute().await?;
    Ok(())
}

async fn set_up_pod_end(address: Ipv4Addr) -> Result<()> {
    let handle = connect()?;
    let index = set_up(&handle, "eth0").await?;
    add_address(&handle, index, address).await?;
    let to_gateway = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(GATEWAY, 32)
        .output_interface(index)
        .scope(RouteScope::Link);
    handle.route().add(to_gateway.build()).execute().await?;
    let default = RouteMessageBuilder::<Ipv4Addr>::new().gateway(GATEWAY);
    handle.route().add(default.build()).execute().await?;
    Ok(())
}

/// The kernel's id of the XDP program on `interface` of the namespace `node`,
/// if there is one.
///
/// # Errors
/// When there is no such interface.
pub(crate) fn xdp_program_id(node: &Netns, interface: &str) -> Result<Option<u32>> {
    let link = node.run(|| block_on(async { find(&connect()?, interface).await }))?;
    Ok(link
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            LinkAttribute::Xdp(xdp) => xdp.iter().find_map(|xdp| match xdp {
                LinkXdp::ProgId(id) | LinkXdp::SkbProgId(id) => Some(*id),
                _ => None,
            }),
            _ => None,
        }))
}

fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(work)
}

/// A netlink connection to the calling thread's network namespace.
fn connect() -> Result<Handle> {
    let (connection, handle, _) =
        rtnetlink::new_connection().context("cannot open a netlink socket")?;
    tokio::spawn(connection);
    Ok(handle)
}

async fn find(handle: &Handle, name: &str) -> Result<LinkMessage> {
    let mut links = handle.link().get().match_name(name.to_owned()).execute();
    let Some(link) = links.try_next().await? else {
        bail!("no interface {name}");
    };
    Ok(link)
}

async fn set_up(handle: &Handle, name: &str) -> Result<u32> {
    let index = find(handle, name).await?.header.index;
    let up = LinkUnspec::new_with_index(index).up().build();
    handle.link().set(up).execute().await?;
    Ok(index)
}

async fn add_address(handle: &Handle, index: u32, address: Ipv4Addr) -> Result<()> {
    let mut request = handle.address().add(index, IpAddr::V4(address), 32);
    // The library makes the address its own broadcast address, which would put
    // a broadcast route beside the local one.
    request
        .message_mut()
        .attributes
        .retain(|attribute| !matches!(attribute, AddressAttribute::Broadcast(_)));
    Ok(request.execute().await?)
}
