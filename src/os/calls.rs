//! The API's calls, carried out by the node and its machine.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use core::net::{IpAddr, SocketAddr};
use tokio::sync::Notify;

use crate::lan::api::{self, ApiError, Call, Outcome};
use crate::node::io::Op;
use crate::node::status::State;
use crate::os::cli::config::DEFAULT_PORT;
use crate::os::core::Core;
use crate::os::http::Answering;
#[cfg(feature = "lan")]
use crate::os::http::DavSite;
use crate::os::locking::Locking;
#[cfg(feature = "mount")]
use crate::os::mounted::{self, Mounted};
use crate::os::run::{self, RunError, entropy};
use crate::seal::state::Passphrase;

/// The API's calls, carried out by the node.
#[derive(Clone)]
pub(super) struct Api {
    pub(super) core: Arc<Core>,
    pub(super) stop: Arc<Notify>,
    pub(super) locking: Arc<Locking>,
    pub(super) directory: Option<PathBuf>,
    #[cfg(feature = "lan")]
    pub(super) dav: Option<Arc<DavSite>>,
    #[cfg(feature = "mount")]
    pub(super) mounted: Mounted,
    #[cfg(feature = "mount")]
    pub(super) imports: super::import::Imports,
    #[cfg(feature = "mount")]
    pub(super) offers: super::offers::Offers,
}

impl Api {
    pub(super) fn answer(self, call: Call) -> Answering {
        Box::pin(async move {
            let no_entropy = |error: RunError| ApiError::new(500, error.to_string());
            let entropy = || entropy().map_err(no_entropy);
            let op = match call {
                Call::Status => return Ok(Outcome::Status(Box::new(self.status()))),
                Call::Friends => return Ok(Outcome::Friends(self.core.read(|node| node.friends()))),
                Call::Transfers => return Ok(Outcome::Transfers(self.core.read(|node| node.transfers()))),
                Call::Check => {
                    let check = self.core.read(|node| node.check_status());
                    let none = || ApiError::new(409, "nothing was checked since the node started");
                    return check.map(|check| Outcome::Check(Box::new(check))).ok_or_else(none);
                }
                Call::StartCheck { full } => Op::Check { full },
                Call::Unmount => return self.unmount().await,
                Call::Lock => return self.locking.lock().await,
                Call::Unlock { passphrase, session } => return self.locking.unlock(passphrase, session).await,
                Call::Passphrase { old, new } => return self.passphrase(old, new).await,
                Call::Stop => {
                    self.stop.notify_one();
                    return Ok(Outcome::Done);
                }
                Call::Invite { circle, role, minutes } => {
                    let time = Duration::from_secs(u64::from(minutes) * 60);
                    Op::Invite { circle, role, time, entropy: entropy()? }
                }
                Call::Join { invite } => Op::Join { invite, entropy: entropy()? },
                Call::Found { name } => Op::Found { name, entropy: entropy()? },
                Call::PrintSheet => Op::PrintSheet { secret: run::entropy().map_err(no_entropy)? },
                Call::SheetWritten => Op::SheetWritten,
                Call::Recover { sheet, at } => Op::Recover { sheet, at: resolve(&at).await? },
                Call::Guest { circle, name, key } => Op::Guest { circle, name, key },
                Call::ExportTorrent { path, announce } => {
                    let file = self.core.read(|node| node.export_torrent(&path, announce.as_deref()));
                    return Ok(Outcome::Torrent(file?));
                }
                Call::Versions { path } => {
                    let versions = self.core.read(|node| node.versions(&path)).map_err(ApiError::from)?;
                    return Ok(Outcome::Versions(Box::new(versions)));
                }
                Call::Held { id, undo } => Op::Held { id, undo },
                Call::Pin { path, pinned } => Op::Pin { path, pinned },
                Call::Free { path } => Op::Free { path },
                Call::Restore { path, version, to } => Op::Restore { path, version, to },
                call @ (Call::Import { .. } | Call::ImportDisk { .. } | Call::Imported) => {
                    return self.import(call).await;
                }
                Call::LeaveDisk { path } => return self.leave_disk(path).await,
                Call::Leave { circle } => Op::Leave { circle: Some(circle) },
                Call::Password { text } => return self.password(text.as_deref().map(String::as_str)).await,
                Call::Press { held_ms } => return self.press(Duration::from_millis(held_ms.into())).await,
                Call::Remove { circle, member } => Op::Remove { circle, member, entropy: entropy()? },
            };
            let answer = self.core.ask(op).await.map_err(ApiError::from)?;
            api::outcome(answer).ok_or_else(|| ApiError::new(500, "the node gave another answer than was asked for"))
        })
    }

    async fn passphrase(&self, old: Option<Passphrase>, new: Option<Passphrase>) -> Result<Outcome, ApiError> {
        if self.core.read(|node| node.status().state) == State::Cache {
            return Err(ApiError::new(409, "a cache keeps nothing that a passphrase could lock"));
        }
        self.locking.change(old, new).await
    }

    /// Presses the button for so long. Who asked may go away meanwhile: the button is let go all the same.
    #[cfg(feature = "panel")]
    async fn press(&self, held: Duration) -> Result<Outcome, ApiError> {
        use crate::panel::{Input, Key};
        let core = self.core.clone();
        let press = async move {
            // What is refused still from the press before is no reason to leave the key down.
            let _ = core.ask(Op::Panel(Input::Key { key: Key::Button, down: true })).await;
            tokio::time::sleep(held.max(SHORT_PRESS)).await;
            core.ask(Op::Panel(Input::Key { key: Key::Button, down: false })).await
        };
        let pressed = tokio::spawn(press).await.map_err(|error| ApiError::new(500, error.to_string()))?;
        pressed.map(|_| Outcome::Done).map_err(ApiError::from)
    }

    /// The same where no panel tells a press from a hold.
    #[cfg(not(feature = "panel"))]
    async fn press(&self, held: Duration) -> Result<Outcome, ApiError> {
        let op = match held.as_secs() {
            0..2 => Op::Press { entropy: entropy().map_err(|error| ApiError::new(500, error.to_string()))? },
            _ => Op::Confirm { entropy: entropy().map_err(|error| ApiError::new(500, error.to_string()))? },
        };
        self.core.ask(op).await.map(|_| Outcome::Done).map_err(ApiError::from)
    }

    /// Sets the password for WebDAV, or forgets it.
    #[cfg(feature = "lan")]
    async fn password(&self, text: Option<&str>) -> Result<Outcome, ApiError> {
        let no_page = || ApiError::new(409, "this node shows no page, and so no drive").with_remedy(WITH_PAGE);
        self.dav.as_ref().ok_or_else(no_page)?.change(text).await.map(|()| Outcome::Done)
    }

    #[cfg(not(feature = "lan"))]
    async fn password(&self, _: Option<&str>) -> Result<Outcome, ApiError> {
        Err(ApiError::new(409, "this build has no page, and so no drive"))
    }

    fn status(&self) -> crate::node::status::Status {
        let mut status = self.core.read(|node| node.status());
        status.mount = self.mount_point();
        (status.disk_total, status.disk_free) = self.core.slabs().space();
        status.memory = resident_bytes();
        status.passphrase = self.locking.has_passphrase();
        status
    }

    #[cfg(feature = "mount")]
    fn mount_point(&self) -> Option<String> {
        let mounted = self.mounted.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        mounted.as_ref().filter(|mount| !mount.ended())?;
        self.directory.as_ref().map(|directory| directory.display().to_string())
    }

    #[cfg(not(feature = "mount"))]
    fn mount_point(&self) -> Option<String> {
        None
    }

    #[cfg(feature = "mount")]
    async fn unmount(&self) -> Result<Outcome, ApiError> {
        match mounted::unmount(&self.mounted).await {
            Some(Ok(())) => Ok(Outcome::Done),
            Some(Err(why)) => Err(ApiError::new(409, why)),
            None => Err(ApiError::new(409, "the tree is not mounted")),
        }
    }

    #[cfg(feature = "mount")]
    async fn import(&self, call: Call) -> Result<Outcome, ApiError> {
        // It looks at directories, which may lie on a server that does not answer.
        let (imports, core, offers) = (self.imports.clone(), self.core.clone(), self.offers.clone());
        let import = move || {
            match call {
                Call::Import { from, into } => {
                    imports.start(&core, &from, into, offers.name(&from), false)?;
                    // Of a directory that is none of these disks there is nothing to be said.
                    let _ = offers.answer(&core, &from);
                }
                Call::ImportDisk { path } => {
                    let name = offers.name(&path).ok_or_else(|| offers.no_disk(&path))?;
                    imports.start(&core, &path, None, Some(name), true)?;
                    offers.answer(&core, &path)?;
                }
                _ => {}
            }
            imports.progress()
        };
        let answer = tokio::task::spawn_blocking(import).await;
        answer.unwrap_or_else(|_| Err(ApiError::new(500, "the import ended without a word")))
    }

    #[cfg(feature = "mount")]
    async fn leave_disk(&self, path: String) -> Result<Outcome, ApiError> {
        let (offers, core) = (self.offers.clone(), self.core.clone());
        let answer = tokio::task::spawn_blocking(move || offers.answer(&core, &path)).await;
        answer.unwrap_or_else(|_| Err(ApiError::new(500, "it ended without a word"))).map(|()| Outcome::Done)
    }

    #[cfg(not(feature = "mount"))]
    async fn leave_disk(&self, path: String) -> Result<Outcome, ApiError> {
        self.import(Call::LeaveDisk { path }).await
    }

    #[cfg(not(feature = "mount"))]
    async fn import(&self, _: Call) -> Result<Outcome, ApiError> {
        Err(ApiError::new(409, "this build has no mount, and imports nothing"))
    }

    #[cfg(not(feature = "mount"))]
    async fn unmount(&self) -> Result<Outcome, ApiError> {
        let _ = &self.directory;
        Err(ApiError::new(409, "this build has no mount"))
    }
}

/// The addresses of hosts, `HOST` or `HOST:PORT`, within a bounded time.
pub(super) async fn resolve(hosts: &[String]) -> Result<Vec<SocketAddr>, ApiError> {
    let mut found = Vec::new();
    for host in hosts {
        let host = host.trim();
        let literal = host.parse().map(|ip: IpAddr| SocketAddr::new(ip, DEFAULT_PORT)).or_else(|_| host.parse());
        if let Ok(address) = literal {
            found.push(address);
            continue;
        }
        let named = if host.contains(':') { host.to_owned() } else { format!("{host}:{DEFAULT_PORT}") };
        match tokio::time::timeout(LOOKUP_TIME, tokio::net::lookup_host(named)).await {
            Ok(Ok(addresses)) => found.extend(addresses),
            Ok(Err(error)) => return Err(ApiError::bad(format!("{host} is not known by that name: {error}"))),
            Err(_) => return Err(ApiError::bad(format!("nobody told in time which address {host} has"))),
        }
    }
    Ok(found)
}

/// Time to find a host by its name.
const LOOKUP_TIME: Duration = Duration::from_secs(10);

#[cfg(feature = "lan")]
const WITH_PAGE: &str = "start it with --page, as in `dustfs node --page 0.0.0.0:8080`";

/// Bytes of this process in memory, as the kernel counts them (proc(5), statm).
fn resident_bytes() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok()??;
    Some(pages * u64::try_from(page).ok()?)
}

/// A shorter press would be taken for a bounce.
#[cfg(feature = "panel")]
const SHORT_PRESS: Duration = Duration::from_millis(100);
