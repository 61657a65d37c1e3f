//! A browser without a window, told what to do by the DevTools protocol over pipes.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use serde_json::{Value, json};

/// As long as a busy machine may take for an answer.
const PATIENCE: Duration = Duration::from_secs(120);

/// The names of programs that are one.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// A running browser with one page.
pub struct Browser {
    process: Child,
    orders: ChildStdin,
    answers: Receiver<Value>,
    session: Option<String>,
    last: u64,
    events: VecDeque<Value>,
    directory: tempfile::TempDir,
}

/// How a page is looked at.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// Pixels across.
    pub width: u32,
    /// Whether the system asks for dark pages.
    pub dark: bool,
}

impl Browser {
    /// The browser of `BITQUILT_CHROMIUM`, or one on the path. Where there is none, that is said.
    pub fn start() -> Option<Self> {
        let Some(program) = find() else {
            eprintln!("skipped: there is no Chromium on the path; BITQUILT_CHROMIUM can name one");
            return None;
        };
        let directory = tempfile::tempdir().unwrap();
        // The protocol's pipes are descriptors 3 and 4.
        let mut command = Command::new("sh");
        command.args(["-c", r#"exec "$@" 3<&0 4>&1 0</dev/null 1>/dev/null 2>/dev/null"#, "sh"]).arg(program);
        command.args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]);
        command.args(["--no-first-run", "--disable-extensions", "--disable-background-networking"]);
        command.args(["--remote-debugging-pipe", "about:blank"]);
        command.arg(format!("--user-data-dir={}", directory.path().join("profile").display()));
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (orders, out) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        let (sender, answers) = mpsc::channel();
        thread::spawn(move || {
            let messages = BufReader::new(out).split(0).map_while(Result::ok);
            messages.filter_map(|it| serde_json::from_slice(&it).ok()).try_for_each(|it| sender.send(it))
        });
        let (session, events) = (None, VecDeque::new());
        let mut browser = Self { process, orders, answers, session, last: 0, events, directory };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attached =
            browser.call("Target.attachToTarget", json!({ "targetId": target["targetId"], "flatten": true }));
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network", "Accessibility"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        Some(browser)
    }

    /// Has the browser do something, and answers what it says.
    pub fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.last += 1;
        let mut message = json!({ "id": self.last, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.orders.write_all(format!("{message}\0").as_bytes()).unwrap();
        loop {
            let message = self.message(method);
            if message["id"] == json!(self.last) {
                assert!(message["error"].is_null(), "{method}: {}", message["error"]);
                return message["result"].clone();
            }
            self.events.push_back(message);
        }
    }

    fn message(&mut self, awaited: &str) -> Value {
        let message = self.answers.recv_timeout(PATIENCE);
        message.unwrap_or_else(|error| panic!("the browser does not answer to {awaited}: {error}"))
    }

    /// Opens a page, and waits until it is there.
    pub fn open(&mut self, page: &str, view: View) {
        let path = self.directory.path().join("page.html");
        fs::write(&path, page).unwrap();
        self.show(&path, view);
    }

    /// Opens the page in a file, and waits until it is there.
    pub fn show(&mut self, path: &Path, view: View) {
        let narrow = view.width < 600;
        self.call(
            "Emulation.setDeviceMetricsOverride",
            json!({ "width": view.width, "height": 800, "deviceScaleFactor": 1, "mobile": narrow }),
        );
        self.call("Emulation.setTouchEmulationEnabled", json!({ "enabled": narrow }));
        self.media("", view.dark);
        self.events.clear();
        self.call("Page.navigate", json!({ "url": format!("file://{}", path.display()) }));
        let begin = Instant::now();
        while !self.events.iter().any(|event| event["method"] == "Page.loadEventFired") {
            assert!(begin.elapsed() < PATIENCE, "the page is not loaded");
            let event = self.message("a page");
            self.events.push_back(event);
        }
        self.settle();
    }

    /// Shows the page as on paper, for instance, or in the dark.
    pub fn media(&mut self, media: &str, dark: bool) {
        let scheme = if dark { "dark" } else { "light" };
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.call("Emulation.setEmulatedMedia", json!({ "media": media, "features": features }));
    }

    /// Waits until what has changed is drawn.
    fn settle(&mut self) {
        let frames =
            "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))";
        self.evaluate(frames);
    }

    /// The value of an expression in the page.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let parameters = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.call("Runtime.evaluate", parameters);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {}", answer["exceptionDetails"]);
        answer["result"]["value"].clone()
    }

    /// The text of the first element that a selector finds.
    pub fn text(&mut self, selector: &str) -> String {
        let found = self.evaluate(&format!("document.querySelector({})?.textContent", json!(selector)));
        found.as_str().unwrap_or_else(|| panic!("no {selector}")).to_owned()
    }

    /// The texts of all elements that a selector finds.
    pub fn texts(&mut self, selector: &str) -> Vec<String> {
        let all = format!("[...document.querySelectorAll({})].map((it) => it.textContent)", json!(selector));
        serde_json::from_value(self.evaluate(&all)).unwrap()
    }

    /// Brings an element into view, and answers where its middle is.
    fn place(&mut self, selector: &str) -> (f64, f64) {
        let script = format!(
            "(() => {{ const it = document.querySelector({}); if (!it) return null; it.scrollIntoView({{ block: 'center' }}); \
             const box = it.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; }})()",
            json!(selector)
        );
        let at = self.evaluate(&script);
        match (at[0].as_f64(), at[1].as_f64()) {
            (Some(x), Some(y)) => (x, y),
            _ => panic!("no {selector}"),
        }
    }

    /// Moves the mouse to an element.
    pub fn point(&mut self, selector: &str) {
        let (x, y) = self.place(selector);
        self.call("Input.dispatchMouseEvent", json!({ "type": "mouseMoved", "x": x, "y": y }));
        self.settle();
    }

    /// Clicks on an element, where its middle is: on what is there.
    pub fn click(&mut self, selector: &str) {
        let (x, y) = self.place(selector);
        for kind in ["mouseMoved", "mousePressed", "mouseReleased"] {
            let event = json!({ "type": kind, "x": x, "y": y, "button": "left", "clickCount": 1 });
            self.call("Input.dispatchMouseEvent", event);
        }
        self.settle();
    }

    /// Taps on an element with a finger.
    pub fn tap(&mut self, selector: &str) {
        let (x, y) = self.place(selector);
        let points = json!([{ "x": x, "y": y }]);
        self.call("Input.dispatchTouchEvent", json!({ "type": "touchStart", "touchPoints": points }));
        self.call("Input.dispatchTouchEvent", json!({ "type": "touchEnd", "touchPoints": [] }));
        self.settle();
    }

    /// Presses keys, such as `ArrowDown`, one after the other.
    pub fn press(&mut self, keys: &[&str]) {
        for key in keys {
            let mut event = json!({ "type": "keyDown", "key": key, "code": key });
            if *key == "Enter" {
                event["text"] = json!("\r");
            }
            self.call("Input.dispatchKeyEvent", event);
            self.call("Input.dispatchKeyEvent", json!({ "type": "keyUp", "key": key, "code": key }));
        }
        self.settle();
    }

    /// Types a text where the focus is.
    pub fn enter(&mut self, text: &str) {
        self.call("Input.insertText", json!({ "text": text }));
        self.settle();
    }

    /// What the browser has complained of since the page was opened: errors, refusals, and requests other than for the page itself.
    pub fn complaints(&mut self) -> Vec<String> {
        self.settle();
        let of = |event: &Value| {
            let parameters = &event["params"];
            let url = parameters["request"]["url"].as_str().unwrap_or_default();
            match event["method"].as_str()? {
                "Runtime.exceptionThrown" | "Runtime.consoleAPICalled" | "Log.entryAdded" => {
                    Some(parameters.to_string())
                }
                "Network.requestWillBeSent" if !url.ends_with(".html") => {
                    Some(format!("a request for {url}"))
                }
                _ => None,
            }
        };
        self.events.iter().filter_map(of).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.orders.write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0");
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(10) {
            if let Ok(Some(_)) = self.process.try_wait() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn find() -> Option<PathBuf> {
    if let Some(named) = env::var_os("BITQUILT_CHROMIUM") {
        return Some(named.into());
    }
    let directories: Vec<PathBuf> = env::split_paths(&env::var_os("PATH")?).collect();
    let places = NAMES.iter().flat_map(|name| directories.iter().map(move |directory| directory.join(name)));
    places.into_iter().find(|path| path.is_file())
}
