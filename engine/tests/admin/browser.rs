//! The status page in Chromium, against an engine under traffic; skipped, visibly, where there is no Chromium.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;

use ringress::Response;
use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

use crate::common::{StopOnDrop, WAIT_MAX, serve, wait_until};
use crate::shown;

/// A browser without a window, driven by the protocol of its developer tools.
struct Browser {
    child: Child,
    tools: WebSocket<TcpStream>,
    session: Option<String>,
    calls: u64,
    /// What went wrong in the page, as it said.
    faults: Vec<String>,
    /// Its own files.
    _folder: tempfile::TempDir,
}

impl Browser {
    /// `None`, and a visible reason, where it is not installed.
    fn start() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let names = ["chromium", "chromium-browser", "google-chrome"];
        let Some(mut child) = names.iter().find_map(|name| {
            let mut command = Command::new(name);
            command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]);
            command.args(["--disable-background-networking", "--no-proxy-server", "--remote-debugging-port=0"]);
            command.arg(format!("--user-data-dir={}", folder.path().display())).arg("about:blank");
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().ok()
        }) else {
            eprintln!("skipped: no browser can be run; apt-get install chromium");
            return None;
        };
        let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let (said, url) = mpsc::channel();
        // All is read to the end, or it would wait for that.
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Some(url) = line.strip_prefix("DevTools listening on ") {
                    let _ = said.send(url.to_owned());
                }
            }
        });
        let url = url.recv_timeout(WAIT_MAX).expect("it says where its tools listen");
        let address = url.strip_prefix("ws://").and_then(|rest| rest.split('/').next()).expect("an address");
        let stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(WAIT_MAX)).expect("not zero");
        let (tools, _) = tungstenite::client(&url, stream).expect("a WebSocket");
        Some(Self { child, tools, session: None, calls: 0, faults: Vec::new(), _folder: folder })
    }

    fn call(&mut self, method: &str, params: Value) -> Value {
        self.calls += 1;
        let id = self.calls;
        let mut call = json!({ "id": id, "method": method, "params": params });
        if let Some(session) = &self.session {
            call["sessionId"] = session.as_str().into();
        }
        self.tools.send(Message::text(call.to_string())).expect("it takes it");
        loop {
            let message = self.tools.read().expect("it answers in time");
            let Ok(text) = message.to_text() else { continue };
            let Ok(mut said) = serde_json::from_str::<Value>(text) else { continue };
            if said["id"] == id {
                assert!(said["error"].is_null(), "{method}: {}", said["error"]);
                return said["result"].take();
            }
            let is_fault = said["method"] == "Runtime.exceptionThrown"
                || (said["method"] == "Log.entryAdded" && said["params"]["entry"]["level"] == "error");
            if is_fault {
                self.faults.push(said["params"].to_string());
            }
        }
    }

    fn open(&mut self, url: &str) {
        let target = self.call("Target.createTarget", json!({ "url": "about:blank" }))["targetId"].take();
        let attached = self.call("Target.attachToTarget", json!({ "targetId": target, "flatten": true }));
        self.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            self.call(domain, json!({}));
        }
        self.call("Page.navigate", json!({ "url": url }));
    }

    /// What an expression comes to in the page.
    fn eval(&mut self, expression: &str) -> Value {
        let mut result = self.call("Runtime.evaluate", json!({ "expression": expression, "returnByValue": true }));
        assert!(result["exceptionDetails"].is_null(), "{expression}: {result}");
        result["result"]["value"].take()
    }

    fn text(&mut self, id: &str) -> String {
        let text = self.eval(&format!("document.getElementById({id:?})?.textContent ?? ''"));
        text.as_str().unwrap_or_default().to_owned()
    }

    fn press(&mut self, key: &str, code: u32, text: &str) {
        let event = |kind: &str| {
            json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code,
                "text": if kind == "keyDown" { text } else { "" } })
        };
        self.call("Input.dispatchKeyEvent", event("keyDown"));
        self.call("Input.dispatchKeyEvent", event("keyUp"));
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.session = None;
        let close = json!({ "id": 0, "method": "Browser.close" });
        let closes = self.tools.send(Message::text(close.to_string())).is_ok();
        let ended = closes && crate::common::holds_within(WAIT_MAX, || matches!(self.child.try_wait(), Ok(Some(_))));
        if !ended {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Tells a thread to end, also when an assertion fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn the_page_shows_an_engine_under_traffic_and_follows_it() {
    let Some(mut browser) = Browser::start() else { return };
    let (admin, host) = shown();
    let consumer = serve(&host.queue, |request| drop(request.respond(Response::text("hello"))));
    let stops = AtomicBool::new(false);
    let unbound = host.session.url_group();
    unbound.add_url(&format!("http://*:{}/unbound/", host.address.port()), 0).expect("free");
    thread::scope(|scope| {
        let engine = StopOnDrop(&host.engine);
        let stop = Stop(&stops);
        let traffic = scope.spawn(|| {
            let mut client = host.connect();
            while !stops.load(Ordering::Relaxed) {
                assert_eq!(client.ask("/").status, 200);
            }
        });
        browser.open(&format!("http://{}/", admin.address()));
        values_change(&mut browser);
        let mut client = host.connect();
        assert_eq!(client.ask("/unbound/").status, 503);
        wait_until("the refusal is shown", || browser.text("refusals").contains("requests refused"));
        it_fits_a_phone_and_the_dark(&mut browser);
        keys_stop_it_and_let_it_go_on(&mut browser);
        drop(stop);
        traffic.join().expect("it was answered to the end");
        drop((client, engine));
    });
    wait_until("the end is shown", || browser.eval("document.getElementById('phase').dataset.phase") == "ended");
    assert!(browser.text("trouble").contains("the engine has ended"));
    drop(admin);
    wait_until("it cannot be reached", || browser.eval("document.getElementById('phase').dataset.phase") == "away");
    // What cannot be reached is an error of the browser's, too.
    let faults: Vec<_> = browser.faults.iter().filter(|fault| !fault.contains("ERR_CONNECTION_REFUSED")).collect();
    assert!(faults.is_empty(), "{faults:?}");
    consumer.join().expect("no panic");
}

fn values_change(browser: &mut Browser) {
    let mut seen = Vec::new();
    wait_until("the count of answers changes, and changes again", || {
        let answered = browser.text("answered");
        if answered.starts_with(|first: char| first.is_ascii_digit()) && seen.last() != Some(&answered) {
            seen.push(answered);
        }
        seen.len() >= 3
    });
    assert_eq!(browser.text("phase"), "serving");
    wait_until("rates are there", || {
        let rate = browser.text("rate");
        rate.starts_with(|first: char| first.is_ascii_digit()) && rate != "0"
    });
    wait_until("times are there", || browser.text("latency").starts_with('\u{2264}'));
    let rows = |id: &str| format!("document.querySelectorAll('#{id} tr').length");
    assert_eq!(
        ["queues", "groups", "shards", "listeners"].map(|id| browser.eval(&rows(id))),
        [1, 2, 1, 1].map(Value::from)
    );
    let queue = browser.text("queues");
    assert!(queue.starts_with("test") && queue.contains("of 1,000"), "{queue}");
    let points = browser.eval("document.getElementById('rate-line').getAttribute('points')");
    assert!(points.as_str().is_some_and(|points| points.split(' ').count() >= 3), "{points}");
}

fn it_fits_a_phone_and_the_dark(browser: &mut Browser) {
    let phone = json!({ "width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": true });
    browser.call("Emulation.setDeviceMetricsOverride", phone);
    wait_until("it is as wide as the phone", || browser.eval("document.documentElement.clientWidth") == 360);
    assert_eq!(browser.eval("document.documentElement.scrollWidth"), 360, "nothing is cut off, or to be scrolled to");
    let ground = "getComputedStyle(document.body).backgroundColor";
    let in_scheme = |browser: &mut Browser, scheme: &str| {
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        browser.call("Emulation.setEmulatedMedia", media);
        browser.eval(ground)
    };
    let (light, dark) = (in_scheme(browser, "light"), in_scheme(browser, "dark"));
    assert_eq!((light, dark), ("rgb(251, 251, 249)".into(), "rgb(19, 21, 24)".into()));
}

fn keys_stop_it_and_let_it_go_on(browser: &mut Browser) {
    let focused = "document.activeElement?.id ?? ''";
    wait_until("the button has the focus", || {
        browser.press("Tab", 9, "");
        browser.eval(focused) == "pause"
    });
    let is_paused = "document.getElementById('pause').getAttribute('aria-pressed')";
    browser.press("Enter", 13, "\r");
    wait_until("it pauses", || browser.eval(is_paused) == "true");
    wait_until("the last look is over", || browser.eval("looks") == false);
    let stays = browser.text("answered");
    browser.press("Enter", 13, "\r");
    wait_until("it goes on", || browser.eval(is_paused) == "false" && browser.text("answered") != stays);
}
