//! How fast a model is, in the process and behind a server.

use std::fs;

use serde_json::{Value, json};

use super::Serving;
use crate::Place;
use crate::small_models::{conv_net, rounding_net};

fn report(place: &Place) -> Value {
    serde_json::from_slice(&fs::read(place.path("b.json")).unwrap()).unwrap()
}

fn assert_latency(run: &Value) {
    let of = |name: &str| run["latency"][name].as_f64().unwrap();
    let ordered = [0.0, of("p50"), of("p95"), of("p99"), of("max")];
    assert!(of("p50") > 0.0 && ordered.is_sorted(), "{run}");
}

#[test]
fn a_model_is_measured_for_every_number_of_threads_and_images() {
    let place = Place::with(&conv_net(None));
    let lists = ["--threads", "1,2", "--batch-size", "1,4"];
    let ended = place.run(
        &[&["bench", "m.onnx", "--repetitions", "1", "--json", "b.json"], &lists[..]].concat(),
    );
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    let report = report(&place);
    let runs = report["runs"].as_array().unwrap();
    let sizes: Vec<(u64, u64)> = runs
        .iter()
        .map(|run| (run["threads"].as_u64().unwrap(), run["batch_size"].as_u64().unwrap()))
        .collect();
    assert_eq!(sizes, [(1, 1), (1, 4), (2, 1), (2, 4)]);
    for run in runs {
        assert_latency(run);
        assert!(run["forward"]["median"].as_f64().unwrap() > 0.0);
        assert!(run["forward_and_gradient"]["median"].as_f64().unwrap() > 0.0);
    }
    let cold = &report["cold_start"];
    let parts = ["library", "open", "first_run"].map(|part| cold[part].as_f64().unwrap());
    let total = cold["total"].as_f64().unwrap();
    assert!(parts.iter().all(|part| *part > 0.0) && parts.iter().sum::<f64>() <= total + 0.1);
    if cfg!(target_os = "linux") {
        let memory = &report["memory"];
        assert!(memory["resident"].as_u64().unwrap() > 1 << 20);
        assert!(memory["peak"].as_u64() >= memory["resident"].as_u64());
    }
    // The heading, a line about the start, two of names and one a run.
    assert_eq!(ended.out.lines().count(), 5 + 4, "{}", ended.out);
}

#[test]
fn a_model_without_a_gradient_is_measured_without() {
    let place = Place::with(&rounding_net());
    let few = ["--repetitions", "1", "--threads", "1", "--batch-size", "1"];
    let ended = place.run(&[&["bench", "m.onnx", "--json", "b.json"], &few[..]].concat());
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    assert!(ended.out.contains("no gradient: "), "{}", ended.out);
    assert_eq!(report(&place)["runs"][0]["forward_and_gradient"], Value::Null);
}

#[test]
fn a_server_is_measured_by_clients_in_a_closed_loop() {
    let place = Place::with(&conv_net(None));
    fs::write(place.path("tokens"), "0123456789abcdef0123456789abcdef\n").unwrap();
    let serving = Serving::of(&place, &["--token-file", "tokens"]);
    let url = format!("http://{}", serving.address);
    let asked = ["bench", "--url", &url, "--duration", "0.2", "--json", "b.json"];
    let refused = place.fails(&asked);
    assert!(refused.contains("401"), "{refused}");
    let token = ["--token-file", "tokens"];
    // The first request of each client is not measured.
    let mut success = 0;
    for (tensors, name) in [(&[][..], "binary"), (&["--tensors", "json"], "json")] {
        let more = ["--clients", "1,3", "--batch-size", "2"];
        let ended = place.run(&[&asked[..], &token, &more, tensors].concat());
        assert_eq!((ended.code, ended.err.as_str()), (0, ""));
        let report = report(&place);
        assert_eq!((&report["model"], &report["tensors"]), (&json!("m"), &json!(name)));
        let runs = report["runs"].as_array().unwrap();
        assert_eq!((runs.len(), &runs[1]["clients"]), (2, &json!(3)));
        for run in runs {
            assert_latency(run);
            let answered = run["statuses"].as_object().unwrap();
            assert_eq!(answered.keys().collect::<Vec<_>>(), ["200"]);
            assert_eq!((&answered["200"], &run["broken"]), (&run["latency"]["count"], &json!(0)));
            success += answered["200"].as_u64().unwrap() + run["clients"].as_u64().unwrap();
        }
    }
    let bearer = [("authorization", "Bearer 0123456789abcdef0123456789abcdef")];
    let stats = serving.client().send("GET", "/v2/models/m/stats", &bearer, b"").json();
    assert_eq!(stats["model_stats"][0]["inference_stats"]["success"]["count"], success);
}

#[test]
fn what_cannot_be_measured_is_one_line() {
    let place = Place::with(&conv_net(None));
    for (arguments, part) in [
        (&["bench"][..], "required"),
        (&["bench", "m.onnx", "--clients", "3"], "cannot be used"),
        (&["bench", "--url", "http://127.0.0.1:1", "--threads", "3"], "cannot be used"),
        (&["bench", "m.onnx", "--url", "http://127.0.0.1:1"], "cannot be used"),
        (&["bench", "--url", "https://127.0.0.1:1"], "expected `http://HOST:PORT`"),
        (&["bench", "--url", "http://127.0.0.1:1"], "cannot connect to `127.0.0.1:1`"),
        (&["bench", "m.onnx", "--threads", "1,0"], "from 1 to 1024"),
    ] {
        let message = place.fails(arguments);
        assert!(message.contains(part), "{arguments:?}: {message}");
    }
}
