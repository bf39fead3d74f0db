//! Ties the node to the panel's drivers: keys go in, lights come out, and what else the panel wishes is done.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::node::io::Input;
use crate::os::cli::config::PanelChoice;
use crate::os::core::Core;
use crate::os::gpio::{BoardMap, Events, Front};
use crate::panel::State;

/// Starts the panel that was chosen; `None` where there is none. The error is for people.
pub fn start(choice: &PanelChoice, core: &Arc<Core>) -> Result<Option<Front>, String> {
    let told = core.clone();
    let events: Events = Arc::new(move |event| told.input(Input::Panel(event.into())));
    let front = match choice {
        PanelChoice::None => return Ok(None),
        PanelChoice::Terminal => Front::terminal(events),
        PanelChoice::Board(path) => {
            let map = BoardMap::load(path).map_err(|error| error.to_string())?;
            Front::start(map, events)
        }
    };
    front.map(Some).map_err(|error| error.to_string())
}

/// Shows every light that the node asks for, and stops it when the box is to be turned off. Ends never.
pub async fn attend(core: Arc<Core>, front: Option<Front>, stop: Arc<Notify>) {
    let mut wishes = core.wishes();
    let mut shown = None;
    loop {
        let now = wishes.borrow_and_update().clone();
        if now.light != shown
            && let (Some(front), Some(light)) = (&front, &now.light)
        {
            front.show(light.clone());
        }
        shown = now.light;
        if now.power_off {
            stop.notify_one();
        }
        // The sender is the core's, which is held here.
        let _ = wishes.changed().await;
    }
}

/// Shows for a while that the disk fails: the node could not even start. Whoever supervises it tries again after that.
pub fn show_fault(choice: &PanelChoice) {
    if let PanelChoice::Board(path) = choice
        && let Ok(front) = BoardMap::load(path).map(|map| Front::start(map, Arc::new(|_| ())))
        && let Ok(front) = front
    {
        front.show(State::DiskFault.light());
        std::thread::park_timeout(FAULT_TIME);
    }
}

/// Asks the system to turn the box off, once everything is durable.
pub fn power_off() {
    let found = ["/sbin/poweroff", "/usr/sbin/poweroff", "/bin/poweroff"].iter().find(|path| Path::new(path).exists());
    let ended = found.map(|path| std::process::Command::new(path).status());
    if !matches!(ended, Some(Ok(status)) if status.success()) {
        log::error!("the box could not be turned off: cut its power, everything is durable");
    }
}

/// How long a fault is shown before the node ends.
const FAULT_TIME: Duration = Duration::from_secs(20);
