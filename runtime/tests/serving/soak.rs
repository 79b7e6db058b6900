//! Many clients for a while, some of whom do wrong: nobody else notices, and nothing piles up.
//!
//! `RIFT_SOAK` is the number of requests and `RIFT_SOAK_SECONDS` the least time; docs/serving.md has
//! the command for all of it.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ndarray::s;
use serde_json::json;

use super::Serving;
use super::client::{Client, Reply, head};
use super::protocol::{INFER, attached, bytes, logits, shape};
use crate::mutations::Mutator;
use crate::small_models::{CLASSES, conv_net, images};
use crate::{Place, setting};

/// Clients that ask at once.
const CLIENTS: usize = 64;
/// Different images, of which each request has a few in a row.
const IMAGES: usize = 64;
/// The largest body, in bytes.
const LARGEST: usize = 1 << 16;
/// A soak of this length is long enough for memory to be held to a tenth.
const LONG: Duration = Duration::from_mins(3);
/// What a server's memory may still grow by where there was no time for it to settle, in bytes.
const SETTLING: u64 = 64 << 20;

/// What clients have seen.
#[derive(Debug, Default)]
struct Seen {
    answered: AtomicU64,
    busy: AtomicU64,
    malformed: AtomicU64,
    oversized: AtomicU64,
    cancelled: AtomicU64,
}

/// A well-formed request, and what the model says of it.
struct Asked {
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    id: String,
    expected: Vec<f32>,
}

struct Soak {
    place: Place,
    serving: Serving,
    requests: u64,
    least: Duration,
    begun: Instant,
    next: AtomicU64,
    seen: Seen,
    images: ndarray::Array4<f32>,
    expected: Vec<f32>,
}

impl Soak {
    fn start() -> Self {
        let place = Place::with(&conv_net(None));
        let most = LARGEST.to_string();
        let serving = Serving::of(&place, &["--queue", "32", "--max-body", &most]);
        Self {
            expected: logits(&place, IMAGES),
            images: images(IMAGES),
            place,
            serving,
            requests: setting("RIFT_SOAK", 3000),
            least: Duration::from_secs(setting("RIFT_SOAK_SECONDS", 0)),
            begun: Instant::now(),
            next: AtomicU64::new(0),
            seen: Seen::default(),
        }
    }

    /// One client, until there is nothing left to ask.
    fn ask(&self) {
        let mut kept: Option<Client> = None;
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.requests && self.begun.elapsed() >= self.least {
                break;
            }
            let mut random = Mutator(number);
            match random.next(100) {
                0 => kept = self.malformed(kept, &mut random),
                1 => self.oversized(&mut random),
                2 | 3 => self.cancelled(number, &mut random),
                _ => kept = Some(self.well_formed(kept, number, &mut random)),
            }
        }
        // Had anything been answered twice, that would come first.
        if let Some(mut client) = kept {
            assert_eq!(client.get("/v2/health/live").json(), json!({"live": true}));
        }
    }

    fn asked(&self, number: u64, random: &mut Mutator) -> Asked {
        let n = 1 + random.next(4);
        let first = random.next(IMAGES - n);
        let tensor: Vec<f32> =
            self.images.slice(s![first..first + n, .., .., ..]).iter().copied().collect();
        let id = number.to_string();
        let mut input = json!({"name": "image", "datatype": "FP32", "shape": shape(n)});
        let (headers, body) = if random.next(2) == 0 {
            input["data"] = json!(tensor);
            (vec![], json!({"id": id, "inputs": [input]}).to_string().into_bytes())
        } else {
            let tensor = bytes(&tensor);
            input["parameters"] = json!({"binary_data_size": tensor.len()});
            let (length, body) = attached(&json!({"id": id, "inputs": [input]}), &tensor);
            (vec![("inference-header-content-length", length)], body)
        };
        let expected = self.expected[first * CLASSES..(first + n) * CLASSES].to_vec();
        Asked { headers, body, id, expected }
    }

    fn well_formed(&self, kept: Option<Client>, number: u64, random: &mut Mutator) -> Client {
        let asked = self.asked(number, random);
        let headers: Vec<(&str, &str)> =
            asked.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let mut client = kept.unwrap_or_else(|| self.serving.client());
        let reply = client.send("POST", INFER, &headers, &asked.body);
        if reply.status == 429 {
            assert!(reply.header("retry-after").is_some());
            self.seen.busy.fetch_add(1, Ordering::Relaxed);
        } else {
            assert_eq!(reply.status, 200, "request {number}: {}", reply.error());
            let reply = reply.json();
            assert_eq!(reply["id"], asked.id);
            let data = reply["outputs"][0]["data"].clone();
            assert_eq!(serde_json::from_value::<Vec<f32>>(data).unwrap(), asked.expected);
            self.seen.answered.fetch_add(1, Ordering::Relaxed);
        }
        client
    }

    fn malformed(&self, kept: Option<Client>, random: &mut Mutator) -> Option<Client> {
        let mut client = kept.unwrap_or_else(|| self.serving.client());
        let body = self.asked(0, random).body;
        let reply = match random.next(7) {
            0 => client.post(INFER, b"{"),
            1 => client.post(INFER, json!({"inputs": [{"shape": [1, -1]}]}).to_string().as_bytes()),
            2 => client.post(INFER, &body[..body.len() / 2]),
            3 => client.send("POST", INFER, &[("inference-header-content-length", "-3")], &body),
            4 => client.send("POST", INFER, &[("content-encoding", "br")], &body),
            5 => client.send("POST", INFER, &[("content-encoding", "gzip")], &body),
            _ => {
                client.write(b"\x16\x03\x01 this is no HTTP\r\n\r\n");
                refused(&self.seen.malformed, client.receive().as_ref());
                return None;
            }
        };
        refused(&self.seen.malformed, Some(&reply));
        (reply.header("connection") != Some("close")).then_some(client)
    }

    fn oversized(&self, random: &mut Mutator) {
        let length = LARGEST + 1 + random.next(LARGEST);
        let mut client = self.serving.client();
        let body = vec![b' '; length];
        // The server may close the connection while this is still sent.
        let _ = if random.next(2) == 0 {
            client.try_write(&[head("POST", INFER, &[], length).as_bytes(), &body].concat())
        } else {
            let head =
                "POST /v1/classify HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked";
            let chunk = format!("{head}\r\n\r\n{length:x}\r\n");
            client.try_write(&[chunk.as_bytes(), &body, b"\r\n0\r\n\r\n"].concat())
        };
        refused(&self.seen.oversized, client.receive().as_ref());
    }

    fn cancelled(&self, number: u64, random: &mut Mutator) {
        let asked = self.asked(number, random);
        let headers: Vec<(&str, &str)> =
            asked.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let request =
            [head("POST", INFER, &headers, asked.body.len()).as_bytes(), &asked.body].concat();
        let sent = if random.next(2) == 0 { request.len() } else { random.next(request.len()) };
        let mut client = self.serving.client();
        client.write(&request[..sent]);
        std::thread::sleep(Duration::from_micros(random.next(3000) as u64));
        self.seen.cancelled.fetch_add(1, Ordering::Relaxed);
    }

    /// The server's memory after the first minute, or after a third of a soak that has none.
    fn settled(&self) -> u64 {
        while self.begun.elapsed() < self.least / 3
            || self.next.load(Ordering::Relaxed) < self.requests / 3
        {
            std::thread::sleep(Duration::from_millis(10));
        }
        self.serving.memory("VmRSS:")
    }

    fn outcome(&self, outcome: &str) -> u64 {
        let series = "rift_requests_total{model=\"m\",version=\"1\",outcome=";
        self.serving.metric(&format!("{series}\"{outcome}\"")) as u64
    }
}

/// Whoever is at fault is told so, or finds the connection closed.
fn refused(count: &AtomicU64, reply: Option<&Reply>) {
    if let Some(reply) = reply {
        assert!((400..500).contains(&reply.status), "{reply:?}");
    }
    count.fetch_add(1, Ordering::Relaxed);
}

#[test]
fn nothing_piles_up_and_nobody_pays_for_others() {
    let soak = Soak::start();
    let settled = std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| soak.ask());
        }
        soak.settled()
    });
    let seconds = soak.begun.elapsed().as_secs_f64();
    let ended = soak.serving.memory("VmRSS:");
    let sum = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let Seen { answered, busy, malformed, oversized, cancelled } = &soak.seen;
    let [answered, busy, cancelled] = [answered, busy, cancelled].map(sum);
    let all = answered + busy + cancelled + sum(malformed) + sum(oversized);
    eprintln!("{:?}, {all} requests in {seconds:.1} s", soak.seen);
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    eprintln!("{:.1} MiB resident, at the end {:.1} MiB", mib(settled), mib(ended));
    assert!(all >= soak.requests);
    for (count, outcome) in [(answered, "success"), (busy, "overloaded")] {
        let counted = soak.outcome(outcome);
        let possible = count..=count + cancelled;
        assert!(possible.contains(&counted), "{outcome}: {counted} of {possible:?}");
    }
    let slack = if soak.least < LONG { SETTLING } else { 0 };
    assert!(ended <= settled + settled / 10 + slack, "{settled} bytes, then {ended}");
    let Soak { serving, place, .. } = soak;
    assert_eq!(serving.end("-TERM"), 0);
    let log = fs::read_to_string(place.path("log")).unwrap();
    for fault in ["WARN", "ERROR", "panicked"] {
        assert!(!log.contains(fault), "{log}");
    }
}
