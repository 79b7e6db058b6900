//! What a service manager such as systemd is told.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use super::Serving;
use crate::Place;
use crate::small_models::{bundle, conv_net, linear_net};

/// Serves under a manager that listens at the socket.
fn start(place: &Place, arguments: &[&str]) -> (Serving, UnixDatagram) {
    let socket = UnixDatagram::bind(place.path("notify")).unwrap();
    // Far more than any message takes: a server that says nothing fails the test, not the clock.
    socket.set_read_timeout(Some(Duration::from_mins(2))).unwrap();
    let mut command = place.command(&[&["serve", "--listen", "127.0.0.1:0"], arguments].concat());
    command.env("NOTIFY_SOCKET", place.path("notify")).env("WATCHDOG_USEC", "400000");
    (Serving::run(place, command), socket)
}

/// The next message that has `part` in it, and those before.
fn until(socket: &UnixDatagram, part: &str) -> Vec<String> {
    let mut messages: Vec<String> = Vec::new();
    while messages.last().is_none_or(|last| !last.contains(part)) {
        let mut message = [0; 4096];
        let length = socket.recv(&mut message).unwrap();
        messages.push(String::from_utf8_lossy(&message[..length]).into_owned());
    }
    messages
}

#[test]
fn it_hears_of_the_start_the_work_and_the_end() {
    let place = Place::with(&conv_net(None));
    let (serving, socket) = start(&place, &["m.onnx"]);
    until(&socket, "READY=1");
    serving.until_ready();
    until(&socket, "STATUS=ready");
    for _ in 0..3 {
        until(&socket, "WATCHDOG=1");
    }
    serving.signal("-TERM");
    assert!(until(&socket, "STOPPING=1").iter().all(|message| !message.contains("READY=1")));
    assert_eq!(serving.ended(), 0);
}

#[test]
fn a_server_without_any_model_has_not_started() {
    let place = Place::with(&linear_net());
    bundle(place.folder.path(), &conv_net(None));
    let gate = ["--audit-gate", "pgd,eps=1,steps=20,images=2,min=1"];
    let (serving, socket) = start(&place, &[&["m=bundle"], &gate[..]].concat());
    let before = until(&socket, "STATUS=not ready: model `m` is not served: audit gate");
    assert!(before.iter().all(|message| !message.contains("READY=1")), "{before:?}");
    let later = until(&socket, "WATCHDOG=1");
    assert!(later.iter().all(|message| !message.contains("READY=1")), "{later:?}");
    drop(serving);
}

#[test]
fn a_server_that_serves_what_it_can_has_started() {
    let place = Place::with(&linear_net());
    std::fs::write(place.path("garbage.onnx"), b"garbage").unwrap();
    let (serving, socket) = start(&place, &["m.onnx", "garbage.onnx"]);
    until(&socket, "READY=1");
    until(&socket, "STATUS=not ready: model `garbage` is not served");
    assert_eq!(serving.client().get("/v2/models/m/ready").status, 200);
}
