//! What goes wrong around a server: it goes on, and says what happened.

use std::fs::{self, File};
use std::io::Write;
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Serving;
use super::protocol::{INFER, request};
use crate::small_models::conv_net;
use crate::{Place, setting};

#[test]
fn a_model_whose_file_is_gone_is_served_on() {
    let place = Place::with(&conv_net(None));
    let serving = Serving::of(&place, &[]);
    let mut client = serving.client();
    let before = client.post(INFER, &request(|_| ())).json();
    fs::remove_file(place.path("m.onnx")).unwrap();
    let refused = client.post("/v2/repository/models/m/load", b"");
    assert_eq!(refused.status, 400);
    assert!(refused.error().contains("`m.onnx`"), "{}", refused.error());
    assert_eq!(client.post(INFER, &request(|_| ())).json(), before);
    assert_eq!(client.get("/v2/health/ready").status, 200);
    let log = fs::read_to_string(place.path("log")).unwrap();
    assert!(log.contains("refused") && log.contains("m.onnx"), "{log}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_costs_the_log_and_nothing_else() {
    let place = Place::with(&conv_net(None));
    // Every line of the log fails as on a full disk, and there is no room for other files either.
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut command = place.command(&["serve", "m.onnx", "--listen", "127.0.0.1:0"]);
    command.env("RIFT_LOG", "debug").env("TMPDIR", place.path("nowhere"));
    let serving = Serving::spawn(&mut command, full);
    serving.until_ready();
    let mut client = serving.client();
    for _ in 0..3 {
        assert_eq!(client.post(INFER, b"{").status, 400);
        assert_eq!(client.post(INFER, &request(|_| ())).status, 200);
        assert_eq!(client.post("/v2/repository/models/m/load", b"").status, 200);
    }
    fs::write(place.path("m.onnx"), b"garbage").unwrap();
    assert_eq!(client.post("/v2/repository/models/m/load", b"").status, 400);
    assert_eq!(client.post(INFER, &request(|_| ())).status, 200);
    drop(client);
    assert_eq!(serving.end("-TERM"), 0);
}

#[test]
fn no_request_is_lost_when_the_server_ends_under_load() {
    const CLIENTS: u64 = 16;
    let place = Place::with(&conv_net(None));
    let serving = Serving::of(&place, &["--drain", "60"]);
    let body = request(|_| ());
    let answered = AtomicU64::new(0);
    // Asks until the server says that it will answer no more.
    let ask = || {
        let mut client = serving.client();
        let mut goes_on = true;
        while goes_on {
            client.ask(INFER, &body);
            let reply = client.receive().unwrap();
            assert_eq!(reply.status, 200);
            goes_on = reply.header("connection") != Some("close");
            answered.fetch_add(1, Ordering::Relaxed);
        }
        assert!(client.receive().is_none());
    };
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(ask);
        }
        while answered.load(Ordering::Relaxed) < 20 * CLIENTS {
            std::thread::sleep(Duration::from_millis(1));
        }
        serving.signal("-TERM");
    });
    assert_eq!(serving.ended(), 0);
    let log = fs::read_to_string(place.path("log")).unwrap();
    assert!(log.contains("shutting down") && !log.contains("cut off"), "{log}");
}

/// Each begins a request and does not end it.
fn idlers(serving: &Serving, n: usize) -> Vec<TcpStream> {
    let idle = |number: usize| {
        let mut stream = TcpStream::connect(serving.address).unwrap();
        stream.write_all(&b"POST /v2/models"[..number % 15]).unwrap();
        stream
    };
    (0..n).map(idle).collect()
}

/// `RIFT_CONNECTIONS` are open at once.
#[test]
#[cfg(unix)]
fn idle_connections_keep_nobody_out() {
    let count = setting("RIFT_CONNECTIONS", 300) as usize;
    let place = Place::with(&conv_net(None));
    // What systems begin with is often fewer files than the server may have.
    let limited = "ulimit -Sn 100 && exec \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", limited, "sh"]).arg(crate::program());
    command.args(["serve", "m.onnx", "--listen", "127.0.0.1:0", "--arrival-timeout", "600"]);
    command.current_dir(place.folder.path());
    let serving = Serving::spawn(&mut command, File::create(place.path("log")).unwrap());
    serving.until_ready();
    let idle = idlers(&serving, count);
    let mut client = serving.client();
    for _ in 0..50 {
        assert_eq!(serving.client().post(INFER, &request(|_| ())).status, 200);
        assert_eq!(client.post(INFER, &request(|_| ())).status, 200);
    }
    assert!(serving.metric("rift_connections ") >= count as f64);
    drop(idle);
    drop(client);
    assert_eq!(serving.end("-TERM"), 0);
    let log = fs::read_to_string(place.path("log")).unwrap();
    assert!(!log.contains("WARN"), "{log}");
}

#[test]
fn who_sends_byte_by_byte_is_let_go_and_holds_nobody_up() {
    let place = Place::with(&conv_net(None));
    let serving = Serving::of(&place, &["--arrival-timeout", "1"]);
    let text = format!("POST {INFER} HTTP/1.1\r\nx-slow: {}", "a".repeat(4000));
    std::thread::scope(|scope| {
        let slow: Vec<_> = (0..20)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = serving.client();
                    // The connection is closed long before the head would be whole.
                    let goes_on = |byte: &&u8| {
                        std::thread::sleep(Duration::from_millis(20));
                        client.try_write(&[**byte]).is_ok()
                    };
                    text.as_bytes().iter().take_while(goes_on).count()
                })
            })
            .collect();
        let mut client = serving.client();
        while !slow.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            assert_eq!(client.post(INFER, &request(|_| ())).status, 200);
        }
        for sent in slow {
            assert!(sent.join().unwrap() < text.len());
        }
    });
    assert_eq!(serving.end("-TERM"), 0);
}
