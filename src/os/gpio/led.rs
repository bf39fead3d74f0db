//! LEDs of the kernel (`/sys/class/leds`): a light is handed to the `pattern` or `timer` trigger where that can play it,
//! else each of its steps is written.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::Lamp;
use crate::panel::{Glow, Light};

/// The status LED, and the fault LED of boards that have one.
pub(super) struct Leds {
    status: Option<Led>,
    fault: Option<Led>,
}

impl Leds {
    /// The LEDs of these names in `class` (`/sys/class/leds`). One that is not there is told in the log and left out: the
    /// box does without.
    pub(super) fn open(class: &Path, status: Option<&str>, fault: Option<&str>) -> Self {
        let open = |name: Option<&str>| {
            let directory = class.join(name?);
            Led::open(&directory)
                .map_err(|error| log::warn!("the LED {} cannot be used: {error}", directory.display()))
                .ok()
        };
        Self { status: open(status), fault: open(fault) }
    }

    /// Each LED, with whether it is lit in a glow.
    fn each(&mut self) -> impl Iterator<Item = (&mut Led, impl Fn(Glow) -> bool)> {
        let alone = self.fault.is_none();
        let status = move |glow| glow == Glow::Status || (alone && glow == Glow::Fault);
        let fault = |glow| glow == Glow::Fault;
        let lit = |is_status: bool| move |glow| if is_status { status(glow) } else { fault(glow) };
        let status_led = self.status.as_mut().map(|led| (led, lit(true)));
        status_led.into_iter().chain(self.fault.as_mut().map(|led| (led, lit(false))))
    }
}

impl Lamp for Leds {
    fn play(&mut self, light: &Light) -> bool {
        let mut alone = true;
        for (led, lit) in self.each() {
            alone &= led.play(light, lit);
        }
        alone
    }

    fn glow(&mut self, glow: Glow) {
        for (led, lit) in self.each() {
            if !led.by_kernel {
                led.shine(lit(glow));
            }
        }
    }
}

struct Led {
    directory: PathBuf,
    /// What makes it as bright as it gets.
    brightest: u32,
    has_pattern: bool,
    has_timer: bool,
    /// The trigger that was set last.
    trigger: &'static str,
    /// The kernel plays the light, and no step is to be written.
    by_kernel: bool,
    /// What went wrong was told already.
    failed: bool,
}

impl Led {
    fn open(directory: &Path) -> io::Result<Self> {
        let brightest = fs::read_to_string(directory.join("max_brightness"))?.trim().parse().unwrap_or(1);
        // No triggers in the kernel: steps are written.
        let triggers = fs::read_to_string(directory.join("trigger")).unwrap_or_default();
        let has = |name: &str| triggers.split_ascii_whitespace().any(|word| word.trim_matches(['[', ']']) == name);
        let (has_pattern, has_timer) = (has("pattern"), has("timer"));
        let directory = directory.to_owned();
        Ok(Self { directory, brightest, has_pattern, has_timer, trigger: "", by_kernel: false, failed: false })
    }

    /// Starts the light; true when nothing more is to be done until the next.
    fn play(&mut self, light: &Light, lit: impl Fn(Glow) -> bool) -> bool {
        let spans = spans(light, lit);
        let played = match spans[..] {
            [(lit, _)] => self.steady(lit),
            _ if self.has_pattern => self.pattern(&spans, light.repeats()),
            [(first, first_ms), (_, second_ms)] if self.has_timer && light.repeats() => {
                let (on_ms, off_ms) = if first { (first_ms, second_ms) } else { (second_ms, first_ms) };
                self.timer(on_ms, off_ms)
            }
            _ => self.set_trigger("none").map(|()| false),
        };
        self.by_kernel = played.unwrap_or_else(|error| {
            self.tell(&error);
            false
        });
        self.by_kernel
    }

    fn steady(&mut self, lit: bool) -> io::Result<bool> {
        self.set_trigger("none")?;
        self.brighten(lit)?;
        Ok(true)
    }

    /// The kernel fades between two brightnesses; a second entry of no time makes an edge of it (leds-trigger-pattern).
    fn pattern(&mut self, spans: &[(bool, u32)], repeats: bool) -> io::Result<bool> {
        let mut pattern = String::new();
        for (lit, ms) in spans {
            let brightness = if *lit { self.brightest } else { 0 };
            let _ = write!(pattern, "{brightness} {ms} {brightness} 0 ");
        }
        self.set_trigger("pattern")?;
        self.write("repeat", if repeats { "-1" } else { "1" })?;
        self.write("pattern", pattern.trim_end())?;
        Ok(true)
    }

    fn timer(&mut self, on_ms: u32, off_ms: u32) -> io::Result<bool> {
        self.set_trigger("timer")?;
        self.write("delay_on", &on_ms.to_string())?;
        self.write("delay_off", &off_ms.to_string())?;
        Ok(true)
    }

    fn shine(&mut self, lit: bool) {
        if let Err(error) = self.brighten(lit) {
            self.tell(&error);
        }
    }

    fn brighten(&self, lit: bool) -> io::Result<()> {
        self.write("brightness", &(if lit { self.brightest } else { 0 }).to_string())
    }

    /// Sets it afresh: one that is told its new rhythm piece by piece would play a piece of the old one in between.
    fn set_trigger(&mut self, trigger: &'static str) -> io::Result<()> {
        if self.trigger != "none" {
            self.write("trigger", "none")?;
            self.trigger = "none";
        }
        if trigger != "none" {
            self.write("trigger", trigger)?;
            self.trigger = trigger;
        }
        Ok(())
    }

    fn write(&self, file: &str, text: &str) -> io::Result<()> {
        let path = self.directory.join(file);
        let mut file = OpenOptions::new().write(true).truncate(true).open(path)?;
        file.write_all(text.as_bytes())
    }

    fn tell(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.failed, true) {
            log::warn!("the LED {} cannot be set: {error}", self.directory.display());
        }
    }
}

/// The light as one LED plays it: lit or dark, and for how many milliseconds; neighbours differ.
fn spans(light: &Light, lit: impl Fn(Glow) -> bool) -> Vec<(bool, u32)> {
    let mut spans: Vec<(bool, u32)> = Vec::new();
    for step in light.steps() {
        let (lit, ms) = (lit(step.glow), u32::from(step.ms));
        match spans.last_mut() {
            Some(last) if last.0 == lit => last.1 += ms,
            _ => spans.push((lit, ms)),
        }
    }
    spans
}
