//! Starts a node and owns its threads and its shutdown.
//!
//! Start: state, identity, node, net, API, mount. End: mount, drafts published and durable, API, net, disk. What is
//! started last ends first, so that nothing is asked of what is gone.

use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use core::net::{IpAddr, SocketAddr};
use tokio::sync::{Notify, watch};
use zeroize::Zeroizing;

use crate::base::limits::PATCHES_MEMORY;
use crate::base::{Batch, CircleId, Snapshot, Table, Ticket};
#[cfg(feature = "lan")]
use crate::lan::host::Names;
use crate::ledger::key::StoredKey;
use crate::ledger::keys;
use crate::node::io::{Answer, DiskRequest, Done as DiskDone, Input, Op, OpError};
use crate::node::status::Recovered;
use crate::node::{Fetch, Node, NodeConfig as MachineConfig, new_identity};
use crate::os::calls::Api;
use crate::os::cli::config::{Fetch as FetchFlag, NodeConfig};
use crate::os::core::{Clock, Core};
use crate::os::disk::{Disk, DiskConfig, ledger_panic};
#[cfg(feature = "panel")]
use crate::os::front;
use crate::os::handover::{self, Handed};
#[cfg(feature = "lan")]
use crate::os::http::{DavSite, PageConfig, PageServer};
use crate::os::http::{Handler, Server};
use crate::os::key;
use crate::os::locking::{Ending, Locking};
#[cfg(feature = "mount")]
use crate::os::mounted::{self, Mounted};
#[cfg(feature = "panel")]
use crate::os::net::mdns::Mdns;
#[cfg(feature = "lan")]
use crate::os::net::mdns::Page;
use crate::os::net::{Net, NetConfig, NetLimits};
use crate::os::state::StateDir;
use crate::seal::{CircleKey, EpochKeys, StateKey, Suite};

/// Why a node could not be started, or ended badly.
#[derive(Debug)]
pub enum RunError {
    /// The state directory, the ledger or the slabs.
    State(String),
    /// The listener.
    Net(String),
    /// The API's socket.
    Api(String),
    /// The mount.
    Mount(String),
    /// The page.
    Page(String),
    /// The front panel.
    Panel(String),
    /// An operation was refused.
    Refused(OpError),
    /// The operating system refused something else.
    System(String),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::State(why)
            | RunError::Net(why)
            | RunError::Api(why)
            | RunError::Mount(why)
            | RunError::Page(why)
            | RunError::Panel(why)
            | RunError::System(why) => f.write_str(why),
            RunError::Refused(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for RunError {}

/// Published drafts and the last commit may take so long at the end.
pub(super) const END_TIME: Duration = Duration::from_secs(60);

/// Memory for small writes to large files, where a machine has much.
const PATCHES_MOST: usize = 64 << 20;
/// How often the disk's free space is looked at.
const SPACE_TIME: Duration = Duration::from_secs(30);

/// Bytes of the operating system's entropy.
pub(super) fn entropy<const N: usize>() -> Result<[u8; N], RunError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| RunError::System(format!("the system gives no randomness: {error}")))?;
    Ok(bytes)
}

/// What a node's state directory holds, opened, with a node started from it.
struct Opened {
    core: Arc<Core>,
    transport_seed: [u8; 32],
    stored: StoredKey,
    /// What the node runs with, and with it whose page stays signed in; `None` while it is locked.
    handed: Option<Handed>,
}

/// Opens or makes a state directory and starts its node. `name` is used when it is made.
fn open(
    state: &Path,
    name: Option<&str>,
    home: bool,
    cache_bytes: Option<usize>,
    machine: MachineConfig,
) -> Result<Opened, RunError> {
    let clock = Clock::start();
    if let Some(parent) = state.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent)
            .map_err(|error| RunError::State(format!("{} cannot be made: {error}", parent.display())))?;
    }
    let mut config = DiskConfig::new(state);
    config.cache_bytes = cache_bytes.unwrap_or(config.cache_bytes);
    let (mut disk, store) = Disk::open(config).map_err(|error| RunError::State(error.to_string()))?;
    explain_panics(state)?;
    // Before there is a node, the disk's answers go to whoever starts it.
    let (early, answers) = mpsc::channel();
    let core: Arc<OnceLock<Arc<Core>>> = Arc::default();
    let told = core.clone();
    let complete = move |ticket: Ticket, done: DiskDone| match told.get() {
        Some(core) => core.input(Input::Disk { ticket, done }),
        None => drop(early.send(done)),
    };
    disk.start(Arc::new(complete)).map_err(|error| RunError::State(error.to_string()))?;
    let known = store.get(Table::Meta, keys::IDENTITY).map_err(|error| RunError::State(error.to_string()))?;
    let directory = StateDir::open(state).map_err(|error| RunError::State(error.to_string()))?;
    let stored = stored_key(&directory, known.is_some())?;
    let handed = match &stored {
        StoredKey::Plain(key) => Some(Handed { key: key.clone(), session: None }),
        StoredKey::Slot(_) => handover::take(),
    };
    let made = known.is_none();
    if made {
        let name = name.ok_or_else(|| {
            RunError::State(format!(
                "{} holds no node: make one with `dustfs init --name NAME --state {}`",
                state.display(),
                state.display()
            ))
        })?;
        crate::wire::statement::check_label(name).map_err(|error| RunError::State(error.to_string()))?;
        let key = handed.as_ref().ok_or_else(|| RunError::State("the key of a new node is missing".into()))?;
        commit_and_wait(&disk, &answers, new_identity(name, entropy()?, entropy()?, &key.key, entropy()?))?;
    }
    let key = handed.as_ref().map(|handed| handed.key.clone());
    let node = Node::start(clock.now(), store, machine, entropy()?, key);
    let mut node = node.map_err(|error| RunError::State(error.to_string()))?;
    if home && !node.has_home() {
        node.found_home(faster_suite(), entropy()?).map_err(RunError::Refused)?;
    }
    let transport_seed = node.transport_seed();
    let started = Core::new(clock, node, disk);
    let _ = core.set(started.clone());
    started.input(Input::Tick);
    Ok(Opened { core: started, transport_seed, stored, handed })
}

/// The key file's content; a new node's is made.
fn stored_key(state: &StateDir, known: bool) -> Result<StoredKey, RunError> {
    let failed = |error: crate::os::state::StateError| RunError::State(error.to_string());
    match key::load(state).map_err(failed)? {
        // Without a passphrase nobody knows, a key that is left of a node that was never made is as good as a new one.
        Some(stored) if known || matches!(stored, StoredKey::Plain(_)) => Ok(stored),
        None if known => Err(RunError::State(format!(
            "{} is missing, and nothing can be read without it: put it back from where it went",
            state.key().display()
        ))),
        _ => {
            let stored = StoredKey::Plain(StateKey::new(entropy()?));
            key::store(state, &stored).map_err(failed)?;
            Ok(stored)
        }
    }
}

/// The database panics on a page that the disk damaged; people are told what that means, and what to do.
fn explain_panics(state: &Path) -> Result<(), RunError> {
    let state = StateDir::open(state).map_err(|error| RunError::State(error.to_string()))?;
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| match ledger_panic(&state, panic) {
        Some(error) => log::error!("{error}"),
        None => usual(panic),
    }));
    Ok(())
}

fn commit_and_wait(disk: &Disk, answers: &mpsc::Receiver<DiskDone>, batch: Batch) -> Result<(), RunError> {
    disk.submit(Ticket(0), DiskRequest::Commit { batch, sync: Default::default() });
    match answers.recv() {
        Ok(DiskDone::Committed(Ok(()))) => Ok(()),
        Ok(DiskDone::Committed(Err(error))) => Err(RunError::State(error.to_string())),
        _ => Err(RunError::State("the disk gave no answer".into())),
    }
}

/// The chunk cipher that seals faster on this machine.
fn faster_suite() -> Suite {
    let time = |suite| {
        let key = EpochKeys::derive(&CircleId([0; 32]), 1, suite, &CircleKey([0; 32])).chunk_key();
        let plain = vec![0; crate::base::limits::CHUNK_PLAIN];
        let mut sealed = Vec::with_capacity(crate::base::limits::CHUNK_SEALED);
        let started = std::time::Instant::now();
        for _ in 0..SEALS {
            sealed.clear();
            key.seal(&plain, crate::base::limits::CHUNK_SEALED, &mut sealed);
        }
        started.elapsed()
    };
    if time(Suite::Aes256Gcm) <= time(Suite::ChaCha20Poly1305) { Suite::Aes256Gcm } else { Suite::ChaCha20Poly1305 }
}

/// Chunks that are sealed to measure a cipher.
const SEALS: u32 = 16;

/// Publishes what is written, makes it durable, and ends the disk's threads.
async fn close(core: &Core) -> Result<(), RunError> {
    let done = tokio::time::timeout(END_TIME, core.ask(Op::Shutdown)).await;
    core.stop_disk();
    match done {
        Ok(reply) => reply.map(drop).map_err(RunError::Refused),
        Err(_) => Err(RunError::State("what was written last could not be made durable in time".into())),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, RunError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| RunError::System(format!("the runtime cannot start: {error}")))
}

/// Makes the state of a new node.
pub fn init(state: &Path, name: &str) -> Result<(), RunError> {
    let opened = open(state, Some(name), true, None, MachineConfig::default())?;
    runtime()?.block_on(async {
        let core = opened.core.clone();
        tokio::select! {
            result = close(&opened.core) => result,
            () = core.tick() => Ok(()),
        }
    })
}

/// Joins while no node runs; the answer is the circle's name.
pub fn join_offline(state: &Path, invite: &str) -> Result<String, RunError> {
    match offline(state, Op::Join { invite: invite.into(), entropy: entropy()? })? {
        Answer::Circle(name) => Ok(name),
        _ => Err(RunError::System("the node gave another answer than was asked for".into())),
    }
}

/// Takes the place of a recovery sheet while no node runs.
pub fn recover_offline(state: &Path, sheet: Zeroizing<String>, at: &[String]) -> Result<Recovered, RunError> {
    let at = runtime()?.block_on(super::calls::resolve(at)).map_err(|error| RunError::System(error.to_string()))?;
    match offline(state, Op::Recover { sheet, at })? {
        Answer::Recovered(recovered) => Ok(recovered),
        _ => Err(RunError::System("the node gave another answer than was asked for".into())),
    }
}

/// Does what needs friends, and nobody here, while no node runs.
fn offline(state: &Path, op: Op) -> Result<Answer, RunError> {
    let opened = open(state, None, false, None, MachineConfig::default())?;
    let core = opened.core.clone();
    runtime()?.block_on(async {
        let net = start_net(&opened, Vec::new()).await?;
        core.attach_net(net.clone(), Vec::new());
        let work = async {
            let answered = core.ask(op).await;
            close(&core).await?;
            answered.map_err(RunError::Refused)
        };
        let result = tokio::select! {
            result = work => result,
            () = core.tick() => Err(RunError::System("the node's clock stopped".into())),
        };
        net.stop();
        net.stopped().await;
        result
    })
}

async fn start_net(opened: &Opened, listen: Vec<SocketAddr>) -> Result<Net, RunError> {
    let core = opened.core.clone();
    let config = NetConfig { listen, transport_seed: opened.transport_seed, limits: NetLimits::default() };
    let told = core.clone();
    let events = Arc::new(move |input: Input| told.input(input));
    Net::start(config, events, core).await.map_err(|error| RunError::Net(error.to_string()))
}

/// Runs the node until it is stopped by a signal or by the API.
pub fn node(config: NodeConfig) -> Result<(), RunError> {
    let name = match &config.name {
        Some(name) => name.clone(),
        None => nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or("box".into()),
    };
    let fetch = match config.fetch {
        FetchFlag::Everything => Fetch::Everything,
        FetchFlag::OnDemand => Fetch::OnDemand,
    };
    #[cfg(feature = "mount")]
    mounted::end_killed_node(&config)?;
    let machine = MachineConfig {
        fetch,
        problem: config.problem.clone(),
        quota: config.quota,
        copies: config.copies,
        versions_time: config.versions_time,
        versions_room: config.versions,
        scrub: config.scrub,
        patches_memory: Some(patches_memory()),
    };
    let opened = open(&config.state, Some(&name), !config.cache, Some(config.cache_bytes), machine);
    #[cfg(feature = "panel")]
    if let Err(error @ RunError::State(_)) = &opened
        && !crate::os::state::StateDir::open(&config.state).is_ok_and(|state| state.is_held())
    {
        log::error!("{error}");
        front::show_fault(&config.panel);
    }
    match runtime()?.block_on(serve(config, opened?))? {
        Ending::Stop => Ok(()),
        Ending::Restart(handed) => {
            let error = handover::restart(handed.as_ref());
            Err(RunError::System(format!("the node cannot start anew: {error}: start it again")))
        }
    }
}

/// A part of the machine's memory, so that a small box has enough left.
fn patches_memory() -> usize {
    let all = nix::sys::sysinfo::sysinfo().map_or(0, |system| system.ram_total());
    usize::try_from(all / 64).unwrap_or(usize::MAX).clamp(PATCHES_MEMORY, PATCHES_MOST)
}

async fn serve(config: NodeConfig, opened: Opened) -> Result<Ending, RunError> {
    let core = opened.core.clone();
    let net = match start_net(&opened, config.listen.clone()).await {
        Err(error) if config.listen_is_default => {
            log::warn!("{error}: a free port is taken instead");
            let free = config.listen.iter().map(|address| SocketAddr::new(address.ip(), 0)).collect();
            start_net(&opened, free).await?
        }
        started => started?,
    };
    let addresses = reachable(&net.addresses());
    core.look_at_space();
    core.attach_net(net.clone(), addresses.clone());
    #[cfg(feature = "panel")]
    let lan = start_lan(&core, &net)?;
    let server = Server::bind(&config.state).await.map_err(|error| RunError::Api(error.to_string()))?;
    let stop = Arc::new(Notify::new());
    #[cfg(feature = "mount")]
    let mount: Mounted = Arc::default();
    #[cfg(feature = "mount")]
    if let Some(directory) = &config.mount {
        mounted::clear_dead_mount(directory)?;
        if !core.read(|node| node.is_locked()) {
            mounted::mount(&core, directory, &config, &mount)?;
        }
    }
    #[cfg(not(feature = "mount"))]
    if config.mount.is_some() {
        return Err(RunError::Mount("this build has no mount: use one with the feature 'mount', or --cache".into()));
    }
    #[cfg(feature = "lan")]
    let page = match config.page {
        Some(address) => Some(PageServer::bind(address).await.map_err(|error| RunError::Page(error.to_string()))?),
        None => None,
    };
    #[cfg(not(feature = "lan"))]
    if config.page.is_some() {
        return Err(RunError::Page("this build has no page: build it with the feature 'lan'".into()));
    }
    let told: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let locked =
        if opened.handed.is_none() { ", locked: give the passphrase on its page, or by `dustfs unlock`" } else { "" };
    log::info!("the node is up at {}{locked}", told.join(", "));
    let state = StateDir::open(&config.state).map_err(|error| RunError::State(error.to_string()))?;
    let key = opened.handed.as_ref().map(|handed| handed.key.clone());
    #[cfg(feature = "lan")]
    let dav = page.as_ref().map(|_| Arc::new(DavSite::open(&config.state, key.clone())));
    let locking = Arc::new(Locking::new(state, opened.stored, key, stop.clone()));
    let api = Api {
        core: core.clone(),
        #[cfg(feature = "lan")]
        dav: dav.clone(),
        stop: stop.clone(),
        locking: locking.clone(),
        directory: config.mount.clone(),
        #[cfg(feature = "mount")]
        mounted: mount.clone(),
        #[cfg(feature = "mount")]
        imports: super::import::Imports::new(config.mount.iter().chain([&config.state])),
        #[cfg(feature = "mount")]
        offers: super::offers::Offers::new(config.disks.clone(), &config.state),
    };
    #[cfg(feature = "mount")]
    let offers = api.offers.clone();
    #[cfg(feature = "mount")]
    let watched = offers.watch(&core);
    #[cfg(not(feature = "mount"))]
    let watched = std::future::pending::<()>();
    // Dropped to end the servers.
    let (end, ended) = watch::channel(());
    let ended = || {
        let mut ended = ended.clone();
        async move { while ended.changed().await.is_ok() {} }
    };
    let handler: Handler = Arc::new(move |call| api.clone().answer(call));
    #[cfg(feature = "lan")]
    let page_task = page.zip(dav).map(|(page, dav)| {
        log::info!("the page is at http://{}/", page.address());
        // Elsewhere nobody but this machine could open it.
        if !page.address().ip().is_loopback() {
            let announced = announced_page(&core, page.address().port());
            let (lan, is_open) = (lan.clone(), dav.is_open());
            // A locked box has no tree to show.
            tokio::spawn(announce_page(lan, announced, opened.handed.is_some().then_some(is_open)));
        }
        let names = page_names(&config, &core);
        let session = opened.handed.as_ref().and_then(|handed| handed.session);
        let site = PageConfig { names, dav, locked: opened.handed.is_none(), session };
        tokio::spawn(page.run(core.clone(), handler.clone(), site, ended()))
    });
    let api_task = tokio::spawn(server.run(handler, ended()));
    #[cfg(feature = "panel")]
    let panel = {
        let front = front::start(&config.panel, &core).map_err(RunError::Panel)?;
        tokio::spawn(front::attend(core.clone(), front, stop.clone()))
    };
    tokio::select! {
        () = core.tick() => {}
        () = watch_space(&core) => {}
        () = watched => {}
        () = stop.notified() => log::info!("stopping, as asked"),
        result = signal() => result?,
    }
    let ticking = core.clone();
    let closing = async {
        #[cfg(feature = "mount")]
        mounted::unmount(&mount).await;
        let closed = close(&core).await;
        drop(end);
        let _ = api_task.await;
        #[cfg(feature = "lan")]
        if let Some(page_task) = page_task {
            let _ = page_task.await;
        }
        closed
    };
    let result = tokio::select! {
        result = closing => result,
        () = ticking.tick() => Ok(()),
    };
    #[cfg(feature = "panel")]
    {
        lan.stop();
        lan.stopped().await;
    }
    net.stop();
    net.stopped().await;
    #[cfg(feature = "panel")]
    {
        panel.abort();
        let _ = panel.await;
        if core.wishes().borrow().power_off {
            front::power_off();
        }
    }
    result.map(|()| locking.ending())
}

/// The names under which the page answers: those of the config, and those that people give to the box on the LAN.
#[cfg(feature = "lan")]
fn page_names(config: &NodeConfig, core: &Core) -> Names {
    let announced = announced_page(core, 0);
    let host = nix::unistd::gethostname().ok().and_then(|host| host.into_string().ok());
    let labels = [Some(format!("dustfs-{}", announced.id)), Some(announced.name), host];
    let labels: Vec<&str> = labels.iter().flatten().map(String::as_str).collect();
    Names::new(&config.page_names, &labels)
}

/// What the LAN is told of the page.
#[cfg(feature = "lan")]
fn announced_page(core: &Core, port: u16) -> Page {
    let status = core.read(|node| node.status());
    Page { name: status.name, id: status.device.chars().take(DEVICE_DIGITS).collect(), port, drive: None }
}

/// Says on the LAN where the page is, and that it is a drive while there is a password.
#[cfg(feature = "lan")]
async fn announce_page(lan: Mdns, page: Page, is_open: Option<watch::Receiver<bool>>) {
    let Some(mut is_open) = is_open else { return lan.page(Some(page)) };
    loop {
        let drive = is_open.borrow_and_update().then_some(crate::lan::password::USER);
        lan.page(Some(Page { drive, ..page.clone() }));
        if is_open.changed().await.is_err() {
            return;
        }
    }
}

/// From now on the node is heard on the LAN, and hears. Its addresses are looked up again when interfaces change.
#[cfg(feature = "panel")]
fn start_lan(core: &Arc<Core>, net: &Net) -> Result<Mdns, RunError> {
    let (heard, moved, net) = (core.clone(), core.clone(), net.clone());
    let moved = Arc::new(move || moved.listening(reachable(&net.addresses())));
    let lan = Mdns::start(u64::from_be_bytes(entropy()?), Arc::new(move |input| heard.input(input)), moved);
    let said = lan.clone();
    core.attach_lan(Box::new(move |announcement| said.announce(announcement)));
    Ok(lan)
}

/// A cache fills the disk, but for a reserve: now and then it is told how much is free.
async fn watch_space(core: &Core) {
    loop {
        tokio::time::sleep(SPACE_TIME).await;
        core.look_at_space();
    }
}

async fn signal() -> Result<(), RunError> {
    use tokio::signal::unix::{SignalKind, signal};
    let caught = |kind| signal(kind).map_err(|error| RunError::System(format!("signals cannot be caught: {error}")));
    let (mut term, mut interrupt) = (caught(SignalKind::terminate())?, caught(SignalKind::interrupt())?);
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// The addresses under which others may reach what was bound: of an unspecified one, those of all interfaces.
fn reachable(bound: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut found = Vec::new();
    for address in bound {
        if !address.ip().is_unspecified() {
            found.push(*address);
            continue;
        }
        let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten();
        for storage in interfaces.filter_map(|interface| interface.address) {
            let ip = match (storage.as_sockaddr_in(), storage.as_sockaddr_in6()) {
                (Some(v4), _) => IpAddr::V4(v4.ip()),
                (None, Some(v6)) if address.is_ipv6() && v6.scope_id() == 0 => IpAddr::V6(v6.ip()),
                _ => continue,
            };
            found.push(SocketAddr::new(ip, address.port()));
        }
    }
    // What only this machine can reach is named last.
    found.sort_by_key(|address| address.ip().is_loopback());
    found.dedup();
    found
}

/// Digits of the device id that no other box on a LAN has.
#[cfg(feature = "lan")]
const DEVICE_DIGITS: usize = 8;
