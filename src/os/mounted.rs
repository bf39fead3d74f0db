//! The node's mount: what a node that was killed left of it, mounting the tree, taking it away.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::os::cli::config::NodeConfig;
use crate::os::core::Core;
use crate::os::files::CoreFiles;
use crate::os::fuse::{Mount, MountConfig, abort_path, is_dead, unmount_path};
use crate::os::run::{END_TIME, RunError};
use crate::os::state::StateDir;

/// The mount, while it is mounted.
pub type Mounted = Arc<Mutex<Option<Mount>>>;

/// A node before this one was killed, and its mount keeps it from ending: the mount is taken away first.
pub fn end_killed_node(config: &NodeConfig) -> Result<(), RunError> {
    let Some(directory) = &config.mount else { return Ok(()) };
    let Ok(state) = StateDir::open(&config.state) else { return Ok(()) };
    if state.holder_is_dying() {
        log::warn!(
            "a node that was killed cannot end for its mount at {}: it is taken away first",
            directory.display()
        );
        abort_path(directory).map_err(|error| RunError::Mount(error.to_string()))?;
        state.wait_until_free(END_TIME);
    }
    Ok(())
}

/// A node that was killed leaves its mount behind, dead: whoever restarts it should not have to know.
pub fn clear_dead_mount(directory: &Path) -> Result<(), RunError> {
    if is_dead(directory) {
        log::warn!("a dead mount is at {}: it is taken away first", directory.display());
        unmount_path(directory, true).map_err(|error| RunError::Mount(error.to_string()))?;
    }
    Ok(())
}

/// Mounts the tree.
pub fn mount(core: &Arc<Core>, directory: &Path, config: &NodeConfig, mounted: &Mounted) -> Result<(), RunError> {
    fs::create_dir_all(directory)
        .map_err(|error| RunError::Mount(format!("{} cannot be made: {error}", directory.display())))?;
    let mount = MountConfig {
        directory: directory.into(),
        threads: config.threads,
        read_only: false,
        allow_other: config.allow_other,
        uid: nix::unistd::getuid().as_raw(),
        gid: nix::unistd::getgid().as_raw(),
    };
    let files = Arc::new(CoreFiles(core.clone()));
    let mount = Mount::new(mount, files).map_err(|error| RunError::Mount(error.to_string()))?;
    let stale = mount.stale();
    core.attach_kernel(Box::new(move |list| stale.send(list)));
    mount.on_end(|| log::info!("the tree is no longer mounted"));
    *mounted.lock().unwrap_or_else(PoisonError::into_inner) = Some(mount);
    Ok(())
}

/// Takes the mount away; `None` when there is none.
pub async fn unmount(mounted: &Mounted) -> Option<Result<(), String>> {
    let mount = mounted.lock().unwrap_or_else(PoisonError::into_inner).take()?;
    // The kernel may have requests under way whose answers need this thread's runtime.
    let unmounted = tokio::task::spawn_blocking(move || mount.unmount()).await;
    Some(match unmounted {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => {
            log::error!("{error}");
            Err(error.to_string())
        }
        Err(error) => Err(error.to_string()),
    })
}
