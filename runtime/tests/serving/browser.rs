//! A real browser, headless, spoken to through two pipes in the `DevTools` protocol.
#![expect(clippy::print_stderr, reason = "what is skipped is said where it is counted")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// What a browser may take for something that the page does by itself.
const PATIENCE: Duration = Duration::from_mins(1);

/// A browser with one page.
pub(super) struct Browser {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    session: Option<String>,
    calls: u64,
    /// What the page complained about.
    pub(super) complaints: Vec<String>,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// A browser whose user reads `language`, where the machine has one.
    pub(super) fn start(language: &str) -> Option<Self> {
        let names = ["chromium", "chromium-browser", "google-chrome"];
        let is_there = |name: &&&str| {
            let version = Command::new(**name).arg("--version").stderr(Stdio::null()).output();
            version.is_ok_and(|version| version.status.success())
        };
        let Some(name) = names.iter().find(is_there) else {
            eprintln!("skipped: there is no Chromium on this machine");
            return None;
        };
        let profile = tempfile::tempdir().unwrap();
        // The protocol's pipes are numbers 3 and 4.
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1", "sh", name]);
        command.args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
        ]);
        command.args(["--no-first-run", "--disable-background-networking", "--hide-scrollbars"]);
        command.arg(format!("--user-data-dir={}", profile.path().display()));
        command.args([format!("--lang={language}"), format!("--accept-lang={language}")]);
        command.args(["--remote-debugging-pipe", "about:blank"]).env("LANGUAGE", language);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let from = BufReader::new(from);
        let complaints = Vec::new();
        let mut browser =
            Self { child, to, from, session: None, calls: 0, complaints, _profile: profile };
        let page = loop {
            let targets = browser.call("Target.getTargets", &json!({}));
            let targets = targets["targetInfos"].as_array().unwrap().clone();
            if let Some(page) = targets.into_iter().find(|target| target["type"] == "page") {
                break page["targetId"].clone();
            }
        };
        let attached = json!({"targetId": page, "flatten": true});
        let session = browser.call("Target.attachToTarget", &attached)["sessionId"].clone();
        browser.session = session.as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "DOM", "Accessibility"] {
            browser.call(&format!("{domain}.enable"), &json!({}));
        }
        Some(browser)
    }

    /// Calls a method of the protocol.
    pub(super) fn call(&mut self, method: &str, params: &Value) -> Value {
        self.calls += 1;
        let mut message = json!({"id": self.calls, "method": method, "params": params});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.to.write_all(format!("{message}\0").as_bytes()).unwrap();
        loop {
            let mut answer = Vec::new();
            self.from.read_until(0, &mut answer).unwrap();
            answer.pop();
            assert!(!answer.is_empty(), "the browser has ended during {method}");
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            if answer["id"] == self.calls {
                assert!(answer.get("error").is_none(), "{method}: {answer}");
                return answer["result"].clone();
            }
            let is_error = answer["params"]["entry"]["level"] == "error";
            if answer["method"] == "Runtime.exceptionThrown" || is_error {
                self.complaints.push(answer["params"].to_string());
            }
        }
    }

    /// Goes to `url`.
    pub(super) fn open(&mut self, url: &str) {
        self.call("Page.navigate", &json!({"url": url}));
    }

    /// The value of an expression of the page.
    pub(super) fn value(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let found = self.call("Runtime.evaluate", &params);
        assert!(found.get("exceptionDetails").is_none(), "{expression}: {found}");
        found["result"]["value"].clone()
    }

    /// The text of an element.
    pub(super) fn text(&mut self, selector: &str) -> String {
        let text = self.value(&format!("document.querySelector('{selector}')?.innerText"));
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until an expression of the page is true.
    pub(super) fn until(&mut self, expression: &str) {
        let started = Instant::now();
        // What it is about may not be there yet.
        let asked = format!(
            "(() => {{ try {{ return Boolean({expression}); }} catch {{ return false; }} }})()"
        );
        while self.value(&asked) != true {
            let is_late = started.elapsed() > PATIENCE;
            let page = if is_late { self.text("body") } else { String::new() };
            assert!(!is_late, "not so: {expression}\n{page}\n{:?}", self.complaints);
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    /// Gives `file` to the input that `selector` names, as its dialogue would.
    pub(super) fn choose(&mut self, selector: &str, file: &Path) {
        let root = self.call("DOM.getDocument", &json!({}))["root"]["nodeId"].clone();
        let input = json!({"nodeId": root, "selector": selector});
        let input = self.call("DOM.querySelector", &input)["nodeId"].clone();
        self.call("DOM.setFileInputFiles", &json!({"files": [file], "nodeId": input}));
    }

    /// Presses a key, such as `Tab`, with the code that Windows has for it.
    pub(super) fn press(&mut self, (key, code): (&str, u32)) {
        // What Enter does to a form, it does as a character.
        let text = if key == "Enter" { "\r" } else { "" };
        for kind in ["keyDown", "keyUp"] {
            let event = json!({
                "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text,
            });
            self.call("Input.dispatchKeyEvent", &event);
        }
    }

    /// Types a text where the focus is.
    pub(super) fn write(&mut self, text: &str) {
        self.call("Input.insertText", &json!({"text": text}));
    }

    /// Roles and names of what a screen reader is told of the page.
    pub(super) fn read_out(&mut self) -> Vec<(String, String)> {
        let tree = self.call("Accessibility.getFullAXTree", &json!({}));
        let nodes = tree["nodes"].as_array().unwrap().iter();
        let of =
            |node: &Value, what: &str| node[what]["value"].as_str().unwrap_or_default().to_owned();
        let heard = nodes.filter(|node| node["ignored"] != true);
        heard.map(|node| (of(node, "role"), of(node, "name"))).collect()
    }

    /// The page as a PNG, in a window of this size.
    pub(super) fn picture(&mut self, (width, height): (u32, u32)) -> image::RgbImage {
        let size =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", &size);
        let shot = self.call("Page.captureScreenshot", &json!({}));
        let png = STANDARD.decode(shot["data"].as_str().unwrap()).unwrap();
        image::load_from_memory(&png).unwrap().to_rgb8()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
