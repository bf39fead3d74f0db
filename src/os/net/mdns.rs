//! Multicast DNS on the LAN: one UDP socket in the group 224.0.0.251 on every interface, and the task that serves it.
//!
//! It says what the node announces (`_dustfs._tcp` to friends, `_dustfs-pair._tcp` while the button's window is open) and
//! where the page (`_http._tcp`) and the drive (`_webdav._tcp`) are, and tells the node what others say. Nothing that is heard is believed: it is a hint
//! whom to dial. Interfaces that come, go or get an address late are noticed within [`LOOK`]; where the port is taken by
//! a program that does not share it, it is tried again as often.
//!
//! Only packets are read that were sent to the group, which no router passes on, from an address of the interface's own
//! network (RFC 6762, section 11), at most [`PACKETS`] each second.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket as SystemSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use nix::libc::in_pktinfo;
use nix::net::if_::{InterfaceFlags, if_nametoindex};
use nix::sys::socket::sockopt::{IpMulticastTtl, Ipv4PacketInfo, ReuseAddr, ReusePort};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, SockaddrIn, SockaddrStorage,
    bind, recvmsg, sendmsg, setsockopt, socket,
};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::{Instant as SystemInstant, sleep_until};

use super::Events;
use super::responder::{Found, Interface, Responder, Service};
use crate::base::Instant;
use crate::base::limits::DNS_MAX;
use crate::node::io::{Announcement, Input, Said};
use crate::wire::beacon::{Pairing, Presence};

/// Handle of the running task, which ends when it is told to or when the last handle is dropped.
#[derive(Clone, Debug)]
pub struct Mdns {
    commands: mpsc::UnboundedSender<Command>,
}

/// Where the page is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// The node's name for people.
    pub name: String,
    /// What no other node on the LAN has, as the first digits of the device id: the host is `dustfs-ID.local`.
    pub id: String,
    /// The TCP port.
    pub port: u16,
    /// The user's name for WebDAV, while there is a password: file managers list what they find, and without one nobody
    /// gets in.
    pub drive: Option<&'static str>,
}

#[derive(Debug)]
enum Command {
    Announce(Announcement),
    Page(Option<Page>),
    Stop,
}

impl Mdns {
    /// Starts on the current tokio runtime. `events` is told [`Input::Heard`] only; `moved` is called when the addresses
    /// of this machine have changed, and when they were looked at first. `seed` is for the moments before answers.
    pub fn start(seed: u64, events: Events, moved: Arc<dyn Fn() + Send + Sync>) -> Self {
        let (commands, receiver) = mpsc::unbounded_channel();
        let task = Task {
            started: SystemInstant::now(),
            responder: Responder::new(seed),
            commands: receiver,
            events,
            moved,
            socket: None,
            told_trouble: false,
            said: Announcement::default(),
            page: None,
            second: (0, 0),
        };
        tokio::spawn(task.run());
        Self { commands }
    }

    /// Replaces what the node says.
    pub fn announce(&self, said: Announcement) {
        self.tell(Command::Announce(said));
    }

    /// Says where the page is, or that there is none.
    pub fn page(&self, page: Option<Page>) {
        self.tell(Command::Page(page));
    }

    /// Takes back what was said, and ends.
    pub fn stop(&self) {
        self.tell(Command::Stop);
    }

    /// Returns when it has ended.
    pub async fn stopped(&self) {
        self.commands.closed().await;
    }

    fn tell(&self, command: Command) {
        // After the stop nothing is said any more.
        let _ = self.commands.send(command);
    }
}

struct Task {
    started: SystemInstant,
    responder: Responder,
    commands: mpsc::UnboundedReceiver<Command>,
    events: Events,
    moved: Arc<dyn Fn() + Send + Sync>,
    socket: Option<UdpSocket>,
    told_trouble: bool,
    said: Announcement,
    page: Option<Page>,
    /// The second since the start, and the packets that were read in it.
    second: (u64, u32),
}

impl Task {
    async fn run(mut self) {
        let mut buffer = vec![0; DNS_MAX];
        let mut look_at = self.started;
        loop {
            if SystemInstant::now() >= look_at {
                self.look();
                look_at = SystemInstant::now() + LOOK;
            }
            self.send_due();
            let due = self.responder.poll_timeout().filter(|_| self.socket.is_some());
            let wake = due.map_or(look_at, |due| (self.started + Duration::from_micros(due.0)).min(look_at));
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(Command::Announce(said)) => {
                        self.said = said;
                        self.offer();
                    }
                    Some(Command::Page(page)) => {
                        self.page = page;
                        self.offer();
                    }
                    Some(Command::Stop) | None => break,
                },
                received = receive(self.socket.as_ref(), &mut buffer) => match received {
                    Ok(Some((interface, from, length))) => self.packet(interface, from, &buffer[..length]),
                    Ok(None) => {}
                    Err(error) => self.fail(&error),
                },
                () = sleep_until(wake) => {}
            }
        }
        self.responder.offer(self.now(), Vec::new());
        self.responder.search(self.now(), &[]);
        self.send_due();
    }

    fn now(&self) -> Instant {
        Instant(u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// Looks for interfaces, and takes part on each.
    fn look(&mut self) {
        if self.socket.is_none() {
            match open() {
                Ok(socket) => self.socket = Some(socket),
                Err(error) => return self.fail(&error),
            }
        }
        let interfaces = interfaces();
        if let Some(socket) = &self.socket {
            for interface in &interfaces {
                match socket.join_multicast_v4(GROUP, interface.address) {
                    Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                        log::debug!("multicast cannot be joined on {}: {error}", interface.address);
                    }
                    _ => {}
                }
            }
        }
        if self.responder.interfaces(self.now(), interfaces) {
            (self.moved)();
        }
    }

    fn offer(&mut self) {
        let mut services = Vec::new();
        let mut kinds = Vec::new();
        let host = |label: &[u8]| [b"dustfs-", &label[..label.len().min(8)]].concat();
        let port = self.said.port;
        if let Some(presence) = &self.said.presence {
            let instance = hex(&presence.nonce);
            let host = host(&instance);
            services.push(Service { kind: PRESENCE, instance, host, port, strings: presence.strings() });
            kinds.push((PRESENCE, PRESENCE_WAIT));
        }
        if let Some(pairing) = &self.said.pairing {
            let instance = hex(&pairing.nonce);
            let host = host(&instance);
            services.push(Service { kind: PAIRING, instance, host, port, strings: pairing.strings() });
            kinds.push((PAIRING, PAIRING_WAIT));
        }
        if let Some(page) = &self.page {
            let instance = label(&format!("{} ({})", page.name, page.id));
            let host = host(page.id.as_bytes());
            let service = |kind, strings| {
                let (instance, host) = (instance.clone(), host.clone());
                Service { kind, instance, host, port: page.port, strings }
            };
            services.push(service(PAGE, vec![b"path=/".to_vec()]));
            if let Some(user) = page.drive {
                services.push(service(DRIVE, vec![b"path=/dav/".to_vec(), format!("u={user}").into_bytes()]));
            }
        }
        let now = self.now();
        self.responder.offer(now, services);
        self.responder.search(now, &kinds);
    }

    fn send_due(&mut self) {
        if self.socket.is_none() {
            return;
        }
        let now = self.now();
        while let Some((interface, bytes)) = self.responder.poll(now) {
            if let Some(socket) = &self.socket
                && let Err(error) = send(socket, interface, &bytes)
            {
                // What is lost here is said again, as what the network loses.
                log::debug!("nothing can be said on {}: {error}", interface.address);
            }
        }
    }

    fn packet(&mut self, interface: u32, from: Ipv4Addr, bytes: &[u8]) {
        let now = self.now();
        let second = now.0 / 1_000_000;
        if self.second.0 != second {
            self.second = (second, 0);
        }
        self.second.1 += 1;
        if self.second.1 > PACKETS {
            return;
        }
        for found in self.responder.message(now, interface, from, bytes).into_iter().take(FOUND_EACH) {
            if let Some(said) = said(&found) {
                (self.events)(Input::Heard { said, address: SocketAddr::V4(found.address) });
            }
        }
    }

    /// The socket is opened again at the next look.
    fn fail(&mut self, error: &io::Error) {
        self.socket = None;
        if !std::mem::replace(&mut self.told_trouble, true) {
            log::warn!("friends on this network are not found by themselves: UDP port {PORT}: {error}");
        }
    }
}

fn said(found: &Found) -> Option<Said> {
    let strings: Vec<&[u8]> = found.strings.iter().map(Vec::as_slice).collect();
    match found.kind {
        PRESENCE => Presence::read(&strings).ok().map(Said::Presence),
        PAIRING => Pairing::read(&strings).ok().map(Said::Pairing),
        _ => None,
    }
}

/// The group's socket, shared with other programs that share it.
fn open() -> io::Result<UdpSocket> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Inet, SockType::Datagram, flags, None)?;
    setsockopt(&socket, ReuseAddr, &true)?;
    setsockopt(&socket, ReusePort, &true)?;
    setsockopt(&socket, Ipv4PacketInfo, &true)?;
    setsockopt(&socket, IpMulticastTtl, &255)?;
    bind(socket.as_raw_fd(), &SockaddrIn::new(0, 0, 0, 0, PORT))?;
    UdpSocket::from_std(SystemSocket::from(socket))
}

/// Interfaces that multicast, with their first IPv4 address.
fn interfaces() -> Vec<Interface> {
    let needs = InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING | InterfaceFlags::IFF_MULTICAST;
    let mut found: Vec<Interface> = Vec::new();
    for told in nix::ifaddrs::getifaddrs().into_iter().flatten() {
        let fits = told.flags.contains(needs) && !told.flags.contains(InterfaceFlags::IFF_LOOPBACK);
        let ip = |storage: &Option<SockaddrStorage>| Some(storage.as_ref()?.as_sockaddr_in()?.ip());
        let (address, mask) = (ip(&told.address), ip(&told.netmask).unwrap_or(Ipv4Addr::BROADCAST));
        if let (true, Some(address), Ok(index)) = (fits, address, if_nametoindex(&told.interface_name[..]))
            && found.len() < INTERFACES
            && !found.iter().any(|known| known.index == index)
        {
            found.push(Interface { index, address, mask });
        }
    }
    found.sort();
    found
}

/// The next packet that was sent to the group from its port: interface, sender, bytes. `None` for any other.
async fn receive(socket: Option<&UdpSocket>, buffer: &mut [u8]) -> io::Result<Option<(u32, Ipv4Addr, usize)>> {
    let Some(socket) = socket else { return std::future::pending().await };
    socket
        .async_io(Interest::READABLE, || {
            let mut control = nix::cmsg_space!(in_pktinfo);
            let mut parts = [IoSliceMut::new(buffer)];
            let flags = MsgFlags::MSG_DONTWAIT;
            let message = recvmsg::<SockaddrIn>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags)?;
            let whole = !message.flags.contains(MsgFlags::MSG_TRUNC);
            let from = message.address.filter(|from| from.port() == PORT && whole);
            let info = message.cmsgs()?.find_map(|told| match told {
                ControlMessageOwned::Ipv4PacketInfo(info) => Some(info),
                _ => None,
            });
            let info = info.filter(|info| u32::from_be(info.ipi_addr.s_addr) == GROUP.to_bits());
            let index = info.and_then(|info| u32::try_from(info.ipi_ifindex).ok());
            Ok(index.zip(from).map(|(index, from)| (index, from.ip(), message.bytes)))
        })
        .await
}

fn send(socket: &UdpSocket, interface: Interface, bytes: &[u8]) -> io::Result<()> {
    let address = |address: Ipv4Addr| nix::libc::in_addr { s_addr: address.to_bits().to_be() };
    let index = i32::try_from(interface.index).map_err(io::Error::other)?;
    let info = in_pktinfo { ipi_ifindex: index, ipi_spec_dst: address(interface.address), ipi_addr: address(GROUP) };
    let group = SockaddrIn::from(SocketAddrV4::new(GROUP, PORT));
    let parts = [IoSlice::new(bytes)];
    let control = [ControlMessage::Ipv4PacketInfo(&info)];
    sendmsg(socket.as_raw_fd(), &parts, &control, MsgFlags::MSG_DONTWAIT, Some(&group))?;
    Ok(())
}

fn hex(nonce: &[u8; 16]) -> Vec<u8> {
    data_encoding::HEXLOWER.encode(nonce).into_bytes()
}

/// As much of the text as fits a label.
fn label(text: &str) -> Vec<u8> {
    let end = text.floor_char_boundary(63);
    text.as_bytes()[..end].to_vec()
}

const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const PORT: u16 = 5353;
const PRESENCE: &str = "_dustfs._tcp";
const PAIRING: &str = "_dustfs-pair._tcp";
const PAGE: &str = "_http._tcp";
/// Its strings are those that file managers look for (dns-sd.org's list of service types): `path` and `u`, the user.
const DRIVE: &str = "_webdav._tcp";
/// The longest wait between two questions for friends.
const PRESENCE_WAIT: Duration = Duration::from_secs(300);
/// The same for the other box in the window.
const PAIRING_WAIT: Duration = Duration::from_secs(4);
/// Time between two looks at the interfaces.
const LOOK: Duration = Duration::from_secs(3);
/// Interfaces that take part.
const INTERFACES: usize = 16;
/// Packets that are read in a second.
const PACKETS: u32 = 100;
/// Boxes that one packet may tell of; each costs the node a turn.
const FOUND_EACH: usize = 8;
