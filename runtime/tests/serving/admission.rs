//! What happens when there is more to do than can be done at once.

use rift_models::onnx::{DataType, Dim, Model, attribute};
use serde_json::json;

use super::Serving;
use super::protocol::{INFER, request};
use crate::Place;
use crate::small_models::{INPUT, conv_net, conv_net_behind, numbers};

/// [`conv_net`] behind convolutions of a large picture, so that a run takes a noticeable time.
pub(super) fn slow_net() -> Model {
    let [c, h, w] = INPUT;
    let dims = [Dim::free("N"), Dim::Fixed(c), Dim::Fixed(h), Dim::Fixed(w)];
    conv_net_behind(DataType::Float, &dims, |builder, image| {
        let repeats = builder.array("repeats", &ndarray::arr1(&[1i64, 1, 32, 32]));
        let mut value = builder.node("Tile", &[&image, &repeats], vec![]);
        let channels = [c, 32, 32, 32, 32, 32, 32, 32, 32, c];
        for (from, to) in channels.iter().zip(&channels[1..]) {
            let weight = numbers(7, from * to * 9, 0.1);
            let weight = ndarray::Array4::from_shape_vec((*to, *from, 3, 3), weight).unwrap();
            let weight = builder.array("slow", &weight);
            let settings = vec![attribute::ints("pads", &[1, 1, 1, 1])];
            value = builder.node("Conv", &[&value, &weight], settings);
        }
        let window =
            [attribute::ints("kernel_shape", &[32, 32]), attribute::ints("strides", &[32, 32])];
        builder.node("AveragePool", &[&value], window.to_vec())
    })
}

/// One run of one image at a time, without the screen.
pub(super) const ONE: [&str; 5] = ["--trust-models", "--threads", "1", "--batch-size", "1"];

fn images_run(serving: &Serving) -> u64 {
    let stats = serving.get("/v2/models/m/stats");
    stats["model_stats"][0]["inference_count"].as_u64().unwrap()
}

#[test]
fn a_full_queue_says_so_at_the_door() {
    let place = Place::with(&slow_net());
    let serving = Serving::of(&place, &[&ONE[..], &["--queue", "1"]].concat());
    let body = request(|_| ());
    let ask = || {
        let mut client = serving.client();
        client.ask(INFER, &body);
        client
    };
    let mut running = ask();
    serving.until("rift_busy_cores", 1.0);
    let mut waiting = ask();
    serving.until("rift_queue_requests", 1.0);
    let refused = serving.client().post(INFER, &body);
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("1")));
    assert!(refused.error().contains("overloaded"));
    assert_eq!(running.receive().unwrap().status, 200);
    assert_eq!(waiting.receive().unwrap().status, 200);
    assert_eq!(
        serving.metric("rift_requests_total{model=\"m\",version=\"1\",outcome=\"overloaded"),
        1.0
    );
}

#[test]
fn who_has_gone_costs_nothing() {
    let place = Place::with(&slow_net());
    let serving = Serving::of(&place, &ONE);
    let body = request(|_| ());
    let ask = || {
        let mut client = serving.client();
        client.ask(INFER, &body);
        client
    };
    let mut running = ask();
    let gone = [ask(), ask()];
    serving.until("rift_queue_requests", 2.0);
    drop(gone);
    serving.until("rift_requests_total{model=\"m\",version=\"1\",outcome=\"cancelled", 2.0);
    assert_eq!(running.receive().unwrap().status, 200);
    assert_eq!(serving.client().post(INFER, &body).status, 200);
    assert_eq!(images_run(&serving), 2);
}

#[test]
fn a_run_that_nobody_waits_for_is_ended() {
    let place = Place::with(&slow_net());
    let serving = Serving::of(&place, &ONE);
    let mut client = serving.client();
    let hurried = request(|request| request["parameters"] = json!({"timeout": 5000}));
    let reply = client.post(INFER, &hurried);
    assert_eq!(reply.status, 504);
    assert!(reply.error().contains("within 5 ms"), "{}", reply.error());
    assert_eq!(client.post(INFER, &request(|_| ())).status, 200);
    // The first one never became an answer.
    assert_eq!(images_run(&serving), 1);
}

#[test]
fn no_request_under_way_is_lost_when_the_server_ends() {
    let place = Place::with(&slow_net());
    let serving = Serving::of(&place, &ONE);
    let body = request(|_| ());
    let mut clients: Vec<_> = (0..3)
        .map(|_| {
            let mut client = serving.client();
            client.ask(INFER, &body);
            client
        })
        .collect();
    serving.until("rift_queue_requests", 2.0);
    let mut probe = serving.client();
    assert_eq!(probe.get("/v2/health/ready").status, 200);
    serving.signal("-TERM");
    let mut ready = probe.get("/v2/health/ready");
    while ready.status == 200 {
        ready = probe.get("/v2/health/ready");
    }
    assert_eq!((ready.status, ready.header("connection")), (503, Some("close")));
    assert!(ready.error().contains("shut down"), "{}", ready.error());
    for client in &mut clients {
        assert_eq!(client.receive().unwrap().status, 200);
    }
    drop((clients, probe));
    assert_eq!(serving.ended(), 0);
}

#[test]
fn models_share_the_cores() {
    let place = Place::with(&slow_net());
    conv_net(None).write(&place.path("quick.onnx")).unwrap();
    let serving = Serving::start(&place, &[&["m.onnx", "quick.onnx"], &ONE[..]].concat());
    serving.until_ready();
    let body = request(|_| ());
    let mut clients: Vec<_> = (0..6)
        .map(|_| {
            let mut client = serving.client();
            client.ask(INFER, &body);
            client
        })
        .collect();
    serving.until("rift_queue_requests", 5.0);
    // It comes next although it came last: its model has computed least.
    assert_eq!(serving.client().post("/v2/models/quick/infer", &body).status, 200);
    assert!(serving.metric("rift_queue_requests{model=\"m\"") >= 3.0);
    for client in &mut clients {
        assert_eq!(client.receive().unwrap().status, 200);
    }
}

#[test]
fn requests_one_after_the_other_are_computed_together() {
    let place = Place::with(&slow_net());
    let alone = Serving::of(&place, &["--trust-models"]);
    let serving = Serving::of(&place, &["--trust-models", "--intra-op-threads", "2"]);
    let body = request(|_| ());
    let expected = alone.client().post(INFER, &body).json()["outputs"].clone();
    let together = || serving.metric("rift_runs_together_total{model=\"m\",version=\"1\"}");
    let mut client = serving.client();
    let mut ask = || assert_eq!(client.post(INFER, &body).json()["outputs"], expected);
    ask();
    assert_eq!(together(), 0.0, "nothing had been computed before");
    // How soon the next one comes depends on what else this machine does.
    for _ in 0..500 {
        (0..10).for_each(|_| ask());
        if together() > 0.0 {
            return;
        }
    }
    panic!("5,000 requests, and none was computed together");
}
