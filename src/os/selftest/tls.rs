//! Two nets of one circle on the loopback interface: the handshake of our own profile, both sides with certificates.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{Held, equal, words};
use crate::base::{CircleId, Ticket, TransportKey};
use crate::cert::{self, Root};
use crate::node::io::{Connected, Input, Protocol, Trust, TrustedCircle};
use crate::os::net::{Events, Net, NetConfig, NetLimits, NoStock};

/// Dials, sends a frame each way, and tells how long the handshake took.
pub(super) fn handshake(_: &Path) -> Result<Held, String> {
    let runtime = Builder::new_current_thread().enable_all().build().map_err(words("starting tokio"))?;
    runtime.block_on(async {
        timeout(PATIENCE, talk()).await.map_err(|_| format!("nothing came within {} s", PATIENCE.as_secs()))?
    })
}

async fn talk() -> Result<Held, String> {
    let root = cert::create_root([7; 32], [7; 16]).map_err(words("making a root"))?;
    let keys = [key(1)?, key(2)?];
    let (dialler, mut at_dialler) = start(1, &root, &keys).await?;
    let (listener, mut at_listener) = start(2, &root, &keys).await?;
    let address = listener.addresses()[0];
    dialler.dial(Ticket(1), address, Protocol::Dustfs(CIRCLE), keys[1]);
    let (one, two) = (connected(&mut at_dialler).await?, connected(&mut at_listener).await?);
    equal("who was dialled", one.transport, keys[1])?;
    equal("who dialled", two.transport, keys[0])?;
    if one.exporter != two.exporter || one.exporter == [0; 32] {
        return Err("the two sides export different secrets".into());
    }
    let payload: Bytes = (0..FRAME).map(|at| (at * 31 % 251) as u8).collect::<Vec<_>>().into();
    dialler.send(one.conn, 1, payload.clone(), Bytes::new());
    listener.send(two.conn, 2, Bytes::new(), payload.clone());
    if frame(&mut at_listener).await? != (1, payload.clone()) || frame(&mut at_dialler).await? != (2, payload) {
        return Err("a frame came out as other bytes than went in".into());
    }
    for net in [dialler, listener] {
        net.stop();
        net.stopped().await;
    }
    Ok(Held::Yes(format!("TLS 1.3 with Ed25519 certificates on both sides, {FRAME} bytes each way")))
}

fn key(seed: u8) -> Result<TransportKey, String> {
    let certificate = cert::self_signed(&[seed; 32]).map_err(words("making a certificate"))?;
    cert::transport_key_of(&certificate).ok_or_else(|| "a certificate of ours has no key".to_owned())
}

type Told = mpsc::UnboundedReceiver<Input>;

/// A net of the circle whose members are `keys`, on a free port.
async fn start(seed: u8, root: &Root, keys: &[TransportKey]) -> Result<(Net, Told), String> {
    let (sender, events) = mpsc::unbounded_channel();
    let told: Events = Arc::new(move |input| {
        // Where nobody listens any more the test is over.
        let _ = sender.send(input);
    });
    let listen = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))];
    let config = NetConfig { listen, transport_seed: [seed; 32], limits: NetLimits::default() };
    let net = Net::start(config, told, Arc::new(NoStock)).await.map_err(words("starting a net"))?;
    let leaf =
        cert::issue_leaf(root.secret.seed(), &root.der, &key(seed)?, [seed; 16]).map_err(words("issuing a leaf"))?;
    let circle = TrustedCircle {
        circle: CIRCLE,
        server_name: cert::server_name(&CIRCLE),
        root: root.der.clone().into(),
        leaf: leaf.into(),
        allowed: keys.iter().copied().collect::<BTreeSet<_>>(),
        removed: BTreeSet::new(),
        guests: BTreeSet::new(),
    };
    net.trust(Trust { circles: vec![circle], ..Trust::default() });
    Ok((net, events))
}

async fn connected(events: &mut Told) -> Result<Connected, String> {
    match fact(events).await? {
        Input::Connected(connected) => Ok(connected),
        other => Err(format!("no connection came about: {other:?}")),
    }
}

async fn frame(events: &mut Told) -> Result<(u32, Bytes), String> {
    match fact(events).await? {
        Input::Frame { channel, payload, .. } => Ok((channel, payload)),
        other => Err(format!("no frame came: {other:?}")),
    }
}

/// The next event that is not credit.
async fn fact(events: &mut Told) -> Result<Input, String> {
    loop {
        match events.recv().await.ok_or_else(|| "the net ended".to_owned())? {
            Input::Sent { .. } => {}
            input => return Ok(input),
        }
    }
}

const CIRCLE: CircleId = CircleId([7; 32]);
const FRAME: usize = 200_000;
/// More than a slow emulator takes.
const PATIENCE: Duration = Duration::from_secs(60);
