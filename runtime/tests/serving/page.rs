//! The page and the attack on demand behind it.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::{Rgb, RgbImage};
use serde_json::Value;

use super::Serving;
use super::client::Reply;
use crate::Place;
use crate::small_models::{conv_net, image_like, rounding_net};

/// A place with a small model and the picture `a.png` of its size.
pub(super) fn place() -> Place {
    let place = Place::with(&conv_net(None));
    image_like(8, 8).save(place.path("a.png")).unwrap();
    place
}

fn picture(place: &Place) -> Vec<u8> {
    fs::read(place.path("a.png")).unwrap()
}

fn header<'a>(reply: &'a Reply, name: &str) -> &'a str {
    reply.header(name).unwrap_or_default()
}

#[test]
fn the_page_is_whole_and_lets_nothing_in() {
    let place = place();
    let serving = Serving::of(&place, &[]);
    let mut client = serving.client();
    let page = client.get("/");
    assert_eq!((page.status, header(&page, "content-type")), (200, "text/html; charset=utf-8"));
    let text = String::from_utf8(page.body.clone()).unwrap();
    assert!(!text.contains("://") && !text.contains("style="), "{text}");
    let mut files: Vec<String> = ["src=\"", "href=\""]
        .iter()
        .flat_map(|before| text.split(before).skip(1))
        .filter_map(|rest| rest.split('"').next())
        .filter(|path| path.starts_with("/page/"))
        .map(str::to_owned)
        .collect();
    // Scripts name others.
    let mut at = 0;
    while at < files.len() {
        let file = client.get(&files[at]);
        assert_eq!(file.status, 200, "{}", files[at]);
        let kind = match files[at].rsplit_once('.') {
            Some((_, "js")) => "text/javascript; charset=utf-8",
            Some((_, "css")) => "text/css; charset=utf-8",
            _ => "image/svg+xml",
        };
        assert_eq!(header(&file, "content-type"), kind, "{}", files[at]);
        let text = String::from_utf8(file.body).unwrap();
        let names = text.split("from \"./").skip(1).filter_map(|rest| rest.split('"').next());
        let named: Vec<String> = names.map(|name| format!("/page/{name}")).collect();
        files.extend(named.into_iter().filter(|name| !files.contains(name)).collect::<Vec<_>>());
        assert!(!text.contains("innerHTML") && !text.contains("eval("), "{}", files[at]);
        at += 1;
    }
    assert!(files.len() >= 8, "{files:?}");
    let policy = header(&page, "content-security-policy");
    for part in
        ["default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"]
    {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(header(&page, "x-content-type-options"), "nosniff");
    assert_eq!(header(&page, "referrer-policy"), "no-referrer");
    assert_eq!(client.get("/page/other.js").status, 404);
}

#[test]
fn a_token_guards_the_data_and_not_the_page() {
    let place = place();
    fs::write(place.path("tokens"), "a-token-of-the-operator").unwrap();
    let serving = Serving::of(&place, &["--token-file", "tokens", "--enable-attack-demo"]);
    let mut client = serving.client();
    for path in ["/", "/page/page.js", "/page/page.css"] {
        assert_eq!(client.get(path).status, 200, "{path}");
    }
    for path in ["/page/other.js", "/page/../v2", "/metrics", "/v1/audit", "/v2/models/m", "//"] {
        assert_eq!(client.get(path).status, 401, "{path}");
    }
    assert_eq!(serving.client().post("/v1/attack", &picture(&place)).status, 401);
}

#[test]
fn attacks_on_demand_are_off_unless_allowed() {
    let place = place();
    let serving = Serving::of(&place, &[]);
    let reply = serving.client().post("/v1/attack", &picture(&place));
    assert_eq!(reply.status, 403);
    assert!(reply.error().contains("--enable-attack-demo"), "{}", reply.error());
    assert!(serving.get("/v2/models/m")["parameters"].get("rift_largest_eps").is_none());
}

/// The pixels of a picture of an attack.
fn pixels(shown: &Value) -> RgbImage {
    let png = STANDARD.decode(shown["picture"].as_str().unwrap()).unwrap();
    image::load_from_memory(&png).unwrap().to_rgb8()
}

#[test]
fn the_attack_stays_within_its_radius_and_is_what_it_shows() {
    let place = place();
    let serving = Serving::of(&place, &["--enable-attack-demo"]);
    let png = picture(&place);
    let mut client = serving.client();
    let original = image::load_from_memory(&png).unwrap().to_rgb8();
    let mut flips = 0;
    for eps in 1..=32 {
        let reply = client.post(&format!("/v1/attack?model=m&eps={eps}/255"), &png);
        assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
        let found = reply.json();
        assert_eq!((&found["eps"], &found["norm"]), (&format!("{eps}/255").into(), &"linf".into()));
        assert_eq!(pixels(&found["original"]), original);
        let adversarial = pixels(&found["adversarial"]);
        let largest = original
            .pixels()
            .zip(adversarial.pixels())
            .flat_map(|(Rgb(a), Rgb(b))| [0, 1, 2].map(|channel| a[channel].abs_diff(b[channel])));
        let largest = largest.max().unwrap();
        assert!(u32::from(largest) <= eps, "{largest} of {eps}");
        let distance = found["distance"].as_f64().unwrap();
        assert!((distance * 255.0 - f64::from(largest)).abs() < 1e-3, "{distance}");
        let times = found["perturbation"]["times"].as_f64().unwrap();
        assert!(largest == 0 || (times * distance - 0.5).abs() < 1e-3, "{times}");
        // Who saves the picture and shows it to the model again gets the same answer.
        let shown = STANDARD.decode(found["adversarial"]["picture"].as_str().unwrap()).unwrap();
        let again = client.post("/v1/classify", &shown).json();
        let (said, before) =
            (&found["adversarial"]["predictions"], &found["original"]["predictions"]);
        assert_eq!(again["images"][0]["predictions"][0]["class"], said[0]["class"]);
        assert_eq!(found["flipped"], said[0]["class"] != before[0]["class"]);
        flips += u32::from(found["flipped"] == true);
    }
    assert!(flips > 0, "nothing within 32/255 changes the class");
    let attack = |query: &str| {
        let mut reply = serving.client().post(&format!("/v1/attack{query}"), &png).json();
        reply.as_object_mut().unwrap().remove("seconds");
        reply
    };
    assert_eq!(attack("?eps=8/255"), attack(""));
}

#[test]
fn an_attack_that_makes_no_sense_is_refused() {
    let place = place();
    let serving = Serving::of(&place, &["--enable-attack-demo"]);
    let png = picture(&place);
    for (query, body, status, part) in [
        ("?eps=0", &png[..], 400, "more than 0"),
        ("?eps=33/255", &png, 400, "at most 0.1254"),
        ("?eps=x", &png, 400, "invalid length `x`"),
        ("?model=x", &png, 404, "no model `x`"),
        ("", b"no picture", 400, "expected PNG or JPEG"),
        ("", b"", 400, "found nothing"),
    ] {
        let reply = serving.client().post(&format!("/v1/attack{query}"), body);
        assert_eq!(reply.status, status, "{query}");
        assert!(reply.error().contains(part), "{query}: {}", reply.error());
    }
    rounding_net().write(&place.path("m.onnx")).unwrap();
    assert_eq!(serving.client().post("/v2/repository/models/m/load", b"").status, 200);
    let reply = serving.client().post("/v1/attack", &png);
    assert_eq!(reply.status, 501);
    assert!(reply.error().contains("cannot be differentiated"), "{}", reply.error());
    // And serving goes on.
    assert_eq!(serving.client().post("/v1/classify", &png).status, 200);
}
