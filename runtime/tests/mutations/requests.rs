//! Requests that were good and have been damaged at random: each is answered, none by a failure.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use image::{Rgb, RgbImage};
use serde_json::{Value, json};

use super::super::Place;
use super::super::serving::Serving;
use super::super::serving::client::{Client, head};
use super::super::serving::protocol::{INFER, attached, bytes, numbers, request, shape};
use super::super::small_models::conv_net;
use super::{MEMORY, Mutator, Tally, count};

/// Requests for each damaged file of the other kinds.
const EACH: u64 = 4;
/// Clients that ask at once.
const CLIENTS: u64 = 8;
/// A server that says nothing for so long hangs.
const PATIENCE: Duration = Duration::from_mins(1);

/// A good request.
#[derive(Clone)]
struct Sample {
    method: &'static str,
    path: &'static str,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Sample {
    fn post(path: &'static str, headers: &[(&str, &str)], body: Vec<u8>) -> Self {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Self { method: "POST", path, headers: headers.iter().map(owned).collect(), body }
    }

    fn get(path: &'static str) -> Self {
        Self { method: "GET", path, headers: Vec::new(), body: Vec::new() }
    }

    /// As it goes over the wire.
    fn bytes(&self) -> Vec<u8> {
        let headers: Vec<(&str, &str)> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        [head(self.method, self.path, &headers, self.body.len()).as_bytes(), &self.body].concat()
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(header, _)| header != name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// A good request of every kind that the server takes.
fn samples(place: &Place) -> Vec<Sample> {
    let picture = RgbImage::from_fn(24, 20, |x, y| Rgb([x as u8 * 10, y as u8 * 12, 90]));
    let [png, jpeg] = ["p.png", "p.jpg"].map(|name| {
        picture.save(place.path(name)).unwrap();
        std::fs::read(place.path(name)).unwrap()
    });
    let tensor = bytes(&numbers(2));
    let strings: Vec<u8> = [&png, &jpeg]
        .into_iter()
        .flat_map(|file| [&(file.len() as u32).to_le_bytes(), &file[..]].concat())
        .collect();
    let input = |datatype: &str, shape: Value, size: usize| {
        let size = json!({"binary_data_size": size});
        json!({"inputs": [{"name": "image", "datatype": datatype, "shape": shape, "parameters": size}],
               "parameters": {"binary_data_output": true}})
    };
    let length = "inference-header-content-length";
    let (numeric, numeric_body) = attached(&input("FP32", json!(shape(2)), tensor.len()), &tensor);
    let (pictures, pictures_body) = attached(&input("BYTES", json!([2]), strings.len()), &strings);
    let text = [&png, &jpeg].map(|file| STANDARD.encode(file));
    let in_json =
        json!({"inputs": [{"name": "image", "datatype": "BYTES", "shape": [2], "data": text}]});
    let classes = request(|request| {
        let k = json!({"classification": 2});
        request["outputs"] = json!([{"name": "logits", "parameters": k}]);
    });
    let part = b"--xyz\r\ncontent-disposition: form-data; name=\"f\"; filename=\"a\"\r\n\r\n";
    let form = [&part[..], &png, b"\r\n", part, &jpeg, b"\r\n--xyz--\r\n"].concat();
    vec![
        Sample::post(INFER, &[("content-type", "application/json")], request(|_| ())),
        Sample::post(INFER, &[], classes),
        Sample::post(INFER, &[(length, &numeric)], numeric_body),
        Sample::post(INFER, &[(length, "0")], tensor[..tensor.len() / 2].to_vec()),
        Sample::post(INFER, &[(length, &pictures)], pictures_body),
        Sample::post(INFER, &[], in_json.to_string().into_bytes()),
        Sample::post("/v1/classify?top=2", &[("content-type", "image/png")], png),
        Sample::post("/v1/classify?model=m", &[], jpeg),
        Sample::post(
            "/v1/classify",
            &[("content-type", "multipart/form-data; boundary=xyz")],
            form,
        ),
        Sample::post("/v2/repository/index", &[], b"{\"ready\": true}".to_vec()),
        Sample::get("/v2/models/m/versions/1"),
        Sample::get("/v2/models/m/stats"),
        Sample::get("/metrics"),
    ]
}

/// What headers are not often.
const ODD: [(&str, &str); 24] = [
    ("content-type", "multipart/form-data"),
    ("content-type", "multipart/form-data; boundary="),
    ("content-type", "multipart/form-data; boundary=\"\u{7f}"),
    ("content-type", "text/html; charset=utf-7"),
    ("content-encoding", "gzip"),
    ("content-encoding", "deflate"),
    ("content-encoding", "gzip, gzip"),
    ("content-encoding", "br"),
    ("inference-header-content-length", "0"),
    ("inference-header-content-length", "1"),
    ("inference-header-content-length", "-1"),
    ("inference-header-content-length", "18446744073709551615"),
    ("inference-header-content-length", "18446744073709551616"),
    ("inference-header-content-length", "0x10"),
    ("inference-header-content-length", ""),
    ("expect", "100-continue"),
    ("expect", "much"),
    ("host", "example.org"),
    ("host", "[::1"),
    ("origin", "null"),
    ("authorization", "Bearer "),
    ("range", "bytes=0-18446744073709551615"),
    ("accept", "\t"),
    ("upgrade", "h2c"),
];

impl Mutator {
    /// The body with some changes, whatever its length.
    fn damage(&mut self, sample: &mut Sample, bodies: &[Vec<u8>]) {
        for _ in 0..=self.next(4) {
            self.change(&mut sample.body, bodies);
        }
    }

    /// A damaged request that still says truly how long it is: it must be answered.
    fn framed(&mut self, mut sample: Sample, bodies: &[Vec<u8>]) -> Vec<u8> {
        match self.next(4) {
            0 => self.damage(&mut sample, bodies),
            1 => {
                self.damage(&mut sample, bodies);
                return self.chunked(&sample);
            }
            2 => {
                let before = self.next(2) == 0;
                if before {
                    self.damage(&mut sample, bodies);
                }
                sample = self.packed(sample);
                if !before {
                    self.damage(&mut sample, bodies);
                }
            }
            _ => {
                for _ in 0..=self.next(2) {
                    let (name, value) = ODD[self.next(ODD.len())];
                    sample = sample.with(name, value);
                }
            }
        }
        sample.bytes()
    }

    fn packed(&mut self, mut sample: Sample) -> Sample {
        let level = Compression::new(self.next(10) as u32);
        if self.next(2) == 0 {
            let mut packer = GzEncoder::new(Vec::new(), level);
            packer.write_all(&sample.body).unwrap();
            sample.body = packer.finish().unwrap();
            return sample.with("content-encoding", "gzip");
        }
        let mut packer = ZlibEncoder::new(Vec::new(), level);
        packer.write_all(&sample.body).unwrap();
        sample.body = packer.finish().unwrap();
        sample.with("content-encoding", "deflate")
    }

    fn chunked(&mut self, sample: &Sample) -> Vec<u8> {
        let mut bytes =
            format!("{} {} HTTP/1.1\r\nhost: localhost\r\n", sample.method, sample.path);
        for (name, value) in &sample.headers {
            bytes.extend([name, ": ", value, "\r\n"]);
        }
        let mut bytes = (bytes + "transfer-encoding: chunked\r\n\r\n").into_bytes();
        let mut rest = &sample.body[..];
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(rest.len().min(1 + self.next(2000)));
            bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
            bytes.extend([chunk, b"\r\n"].concat());
            rest = after;
        }
        bytes.extend(b"0\r\n\r\n");
        bytes
    }

    /// A request that is damaged anywhere, also where it says how long it is.
    fn unframed(&mut self, sample: Sample, samples: &[Sample]) -> Vec<u8> {
        let sample = if self.next(2) == 0 { sample.with("connection", "close") } else { sample };
        let mut bytes = sample.bytes();
        let others: Vec<Vec<u8>> = samples.iter().map(Sample::bytes).collect();
        for _ in 0..=self.next(4) {
            self.change(&mut bytes, &others);
        }
        bytes
    }
}

/// The status of whatever the server says to bytes after which nothing more comes; 0 for nothing.
///
/// # Errors
/// If it neither answers nor closes the connection.
fn ended_by(serving: &Serving, bytes: &[u8]) -> Result<u16, String> {
    let mut stream = TcpStream::connect(serving.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // It may have had enough before it has all.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut reply = Vec::new();
    match stream.read_to_end(&mut reply) {
        Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock) => {
            Err("it hangs".to_owned())
        }
        _ => {
            let status = reply.get(9..12).and_then(|text| std::str::from_utf8(text).ok());
            Ok(status.and_then(|text| text.parse().ok()).unwrap_or(0))
        }
    }
}

fn ask(
    serving: &Serving,
    samples: &[Sample],
    bodies: &[Vec<u8>],
    seed: u64,
) -> Result<u16, String> {
    let mut mutator = Mutator(seed);
    let sample = samples[mutator.next(samples.len())].clone();
    if mutator.next(4) == 0 {
        return ended_by(serving, &mutator.unframed(sample, samples));
    }
    let mut client: Client = serving.client();
    let _ = client.try_write(&mutator.framed(sample, bodies));
    client.receive().map(|reply| reply.status).ok_or_else(|| "it is not answered".to_owned())
}

#[test]
fn damaged_requests_are_answered_without_a_failure() {
    let place = Place::with(&conv_net(None));
    let serving = Serving::of(&place, &["--arrival-timeout", "5"]);
    let samples = samples(&place);
    let bodies: Vec<Vec<u8>> = samples.iter().map(|sample| sample.body.clone()).collect();
    for sample in &samples {
        let mut client = serving.client();
        client.write(&sample.bytes());
        assert_eq!(client.receive().unwrap().status, 200, "{}", sample.path);
    }
    let before = serving.memory("VmRSS:");
    let (next, all) = (AtomicU64::new(0), EACH * count());
    let tally = Mutex::new((Tally::default(), Vec::new()));
    let work = || loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= all {
            return;
        }
        let found = ask(&serving, &samples, &bodies, seed);
        let mut tally = tally.lock().unwrap();
        match found {
            Ok(0) => tally.0.add("closed"),
            Ok(200..300) => tally.0.add("answered"),
            Ok(400..500) => tally.0.add("refused"),
            Ok(status) => tally.1.push(format!("seed {seed}: {status}")),
            Err(fault) => tally.1.push(format!("seed {seed}: {fault}")),
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(work);
        }
    });
    let (tally, faults) = tally.into_inner().unwrap();
    let (after, most) = (serving.memory("VmRSS:"), serving.memory("VmHWM:"));
    eprintln!("{tally:?}, {before} bytes before, {after} after, {most} at most");
    assert_eq!(faults, [""; 0]);
    assert!(most < before + MEMORY, "{before} bytes before, {most} at most");
    assert!(tally.of("answered") > 0 && tally.of("refused") > 0, "{tally:?}");
    assert_eq!(serving.client().post(INFER, &request(|_| ())).status, 200);
    assert_eq!(serving.end("-TERM"), 0);
    let log = std::fs::read_to_string(place.path("log")).unwrap();
    for fault in ["WARN", "ERROR", "panicked"] {
        assert!(!log.contains(fault), "{log}");
    }
}
