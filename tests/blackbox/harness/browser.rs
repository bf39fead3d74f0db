//! A real browser: Chromium without a screen, as large as a phone, led by WebDriver (W3C, level 1) inside a node's
//! namespace.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use data_encoding::BASE64;
use serde_json::{Value, json};

use super::web::Web;
use super::{Node, system, wait_for, wait_until};

/// See the module.
pub struct Browser {
    driver: Web,
    session: String,
    /// Where what is saved comes to lie.
    pub saved: PathBuf,
    shots: PathBuf,
    _process: Process,
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Browser {
    /// A browser on `node`'s host, `None` where there is none; `test` is a test that begins with
    /// [`is_relay`](super::web::is_relay).
    #[track_caller]
    pub fn new(node: &Node, test: &str) -> Option<Self> {
        if system(&["chromedriver", "--version"]).is_err() || system(&["chromium", "--version"]).is_err() {
            println!("SKIPPED {test}: there is no chromium, or no chromedriver");
            return None;
        }
        let home = node.state().with_file_name("browser");
        let saved = home.join("saved");
        fs::create_dir_all(&saved).expect("a directory for what is saved");
        let child = Command::new("nsenter")
            .arg(format!("--net=/run/netns/{}", node.namespace()))
            .args(["setpriv", "--pdeathsig", "KILL", "chromedriver", "--allowed-origins=*"])
            .arg(format!("--port={PORT}"))
            .env("HOME", &home)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver runs");
        let process = Process(child);
        let driver = Web::to(node, format!("127.0.0.1:{PORT}"), test);
        let ready = || exchange(&driver, "GET", "/status", None).filter(|told| told["value"]["ready"] == true);
        wait_for("chromedriver is ready", LIMIT, ready);
        let shots = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("page");
        fs::create_dir_all(&shots).expect("a directory for pictures");
        let mut browser = Self { driver, session: String::new(), saved, shots, _process: process };
        let options = json!({
            // Root has no sandbox, and the page comes from the next namespace.
            "args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--mute-audio",
                "--autoplay-policy=no-user-gesture-required", format!("--user-data-dir={}", home.display())],
            "mobileEmulation": { "deviceMetrics": { "width": 390, "height": 844, "pixelRatio": 2.0, "touch": false } },
            "prefs": { "download.default_directory": browser.saved, "download.prompt_for_download": false },
        });
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome", "unhandledPromptBehavior": "accept", "goog:chromeOptions": options } } });
        let told = browser.ask("POST", "", wanted);
        browser.session = format!("/{}", told["sessionId"].as_str().unwrap_or_else(|| panic!("a session: {told}")));
        Some(browser)
    }

    /// Opens an address.
    #[track_caller]
    pub fn open(&self, url: &str) {
        self.ask("POST", "/url", json!({ "url": url }));
    }

    /// What a function's body returns on the page.
    #[track_caller]
    pub fn run(&self, script: &str) -> Value {
        self.ask("POST", "/execute/sync", json!({ "script": script, "args": [] }))
    }

    /// Waits until an expression is true on the page.
    #[track_caller]
    pub fn wait(&self, expression: &str) {
        wait_until(expression, LIMIT, || self.run(&format!("return !!({expression})")) == true);
    }

    /// The text of an element, as it is shown.
    #[track_caller]
    pub fn text(&self, css: &str) -> String {
        let told = self.ask("GET", &format!("/element/{}/text", self.element(css)), Value::Null);
        told.as_str().expect("a text").to_owned()
    }

    /// Clicks where a person would; once more where the page drew the element anew under the finger.
    #[track_caller]
    pub fn click(&self, css: &str) {
        wait_until(css, LIMIT, || {
            let told = self.try_ask("POST", &format!("/element/{}/click", self.element(css)), &json!({}));
            assert!(told["error"].is_null() || told["error"] == "stale element reference", "click {css}: {told}");
            told["error"].is_null()
        });
    }

    /// Types into an element, or gives files to one that takes them: their paths, a line each.
    #[track_caller]
    pub fn give(&self, css: &str, text: &str) {
        self.ask("POST", &format!("/element/{}/value", self.element(css)), json!({ "text": text }));
    }

    /// A picture of what is seen, kept as `target/page/NAME.png`.
    #[track_caller]
    pub fn shoot(&self, name: &str) -> PathBuf {
        let told = self.ask("GET", "/screenshot", Value::Null);
        let picture = BASE64.decode(told.as_str().expect("a picture").as_bytes()).expect("Base64");
        let path = self.shots.join(format!("{name}.png"));
        fs::write(&path, picture).expect("it is written");
        path
    }

    #[track_caller]
    fn element(&self, css: &str) -> String {
        let told = self.ask("POST", "/element", json!({ "using": "css selector", "value": css }));
        told.as_object().and_then(|found| found.values().next()?.as_str()).expect("an element").to_owned()
    }

    #[track_caller]
    fn ask(&self, method: &str, path: &str, body: Value) -> Value {
        let value = self.try_ask(method, path, &body);
        assert!(value["error"].is_null(), "{method} {path} {body}: {}", value["message"]);
        value
    }

    #[track_caller]
    fn try_ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let path = format!("/session{}{path}", self.session);
        let body = (!body.is_null()).then(|| body.to_string());
        let told = exchange(&self.driver, method, &path, body.as_deref());
        told.unwrap_or_else(|| panic!("{method} {path}: no answer"))["value"].take()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Its processes end with the session.
        exchange(&self.driver, "DELETE", &format!("/session{}", self.session), None);
    }
}

/// One question to the driver, which keeps its connections open; `None` without a whole answer.
fn exchange(driver: &Web, method: &str, path: &str, body: Option<&str>) -> Option<Value> {
    let mut stream = driver.connect();
    let body = body.unwrap_or_default();
    let length = format!("Content-Length: {}", body.len());
    let head = driver.head(method, path, &["Content-Type: application/json", &length]);
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).ok()?;
    let mut stream = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        match line.trim_end().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.trim().parse().ok()?,
            None if line.trim_end().is_empty() => break,
            _ => {}
        }
    }
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).ok()?;
    serde_json::from_slice(&answer).ok()
}

const PORT: u16 = 9515;
const LIMIT: Duration = Duration::from_secs(60);
