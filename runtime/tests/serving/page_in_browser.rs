//! The page in a real browser; `RIFT_SCREENSHOTS` names a folder that gets pictures of it.

use std::fs;

use serde_json::json;

use super::Serving;
use super::browser::Browser;
use super::page::place;
use crate::DATA;

const RIGHT: (&str, u32) = ("ArrowRight", 39);
const HOME: (&str, u32) = ("Home", 36);
const TAB: (&str, u32) = ("Tab", 9);
const ENTER: (&str, u32) = ("Enter", 13);

#[test]
fn a_picture_is_classified_and_attacked() {
    let Some(mut browser) = Browser::start("en-GB") else { return };
    let place = place();
    let gate = "pgd,eps=8/255,steps=2,images=24,min=0";
    let serving = Serving::of(
        &place,
        &[
            "--enable-attack-demo",
            "--audit-gate",
            gate,
            "--audit-data",
            DATA,
            "--audit-limit",
            "24",
        ],
    );
    browser.open(&format!("http://{}/", serving.address));
    browser.until("document.querySelector('#ready').innerText === 'ready'");
    browser.until("document.querySelector('#audit .figure')");
    browser.choose("#file", &place.path("a.png"));
    browser.until("/Within|It still says/.test(document.querySelector('#verdict').innerText)");
    assert_eq!(browser.text("#eps-text"), "ε = 8/255");
    // What the page shows is what the server says.
    let png = fs::read(place.path("a.png")).unwrap();
    let said = serving.client().post("/v1/classify?rift_margin=true", &png).json();
    let first = said["images"][0]["predictions"][0]["name"].as_str().unwrap();
    assert_eq!(browser.text("#rows th"), first);
    let margin = format!("Margin {:.2}", said["images"][0]["rift_margin"].as_f64().unwrap());
    assert!(browser.text("#watched").starts_with(&margin), "{}", browser.text("#watched"));
    // The slider: the keyboard moves it, and the attack follows.
    browser.value("document.querySelector('#eps').focus()");
    browser.press(HOME);
    browser.until("document.querySelector('#eps-text').innerText === 'ε = 0/255'");
    browser.until("document.querySelector('#verdict').innerText.startsWith('The model says')");
    for eps in 1..=3 {
        browser.press(RIGHT);
        browser
            .until(&format!("document.querySelector('#eps-text').innerText === 'ε = {eps}/255'"));
    }
    browser.until("/ithin 3.255[^]*gradients/.test(document.querySelector('#verdict').innerText)");
    browser.value("document.querySelector('#eps').value = 32");
    browser.value("document.querySelector('#eps').dispatchEvent(new Event('input'))");
    browser.until("/Within 32.255/.test(document.querySelector('#verdict').innerText)");
    assert_eq!(browser.value("document.querySelector('#last').className"), "flipped");
    let attacked = serving.client().post("/v1/attack?eps=32/255", &png).json();
    let after = attacked["adversarial"]["predictions"][0]["name"].as_str().unwrap();
    let verdict = browser.text("#verdict");
    let line = format!("instead of {first}.");
    assert!(verdict.contains(after) && verdict.contains(&line), "{verdict}");
    let shown = browser.value("document.querySelector('#adversarial').src");
    assert!(
        shown.as_str().unwrap().ends_with(attacked["adversarial"]["picture"].as_str().unwrap())
    );
    // The throughput has been seen to move.
    browser.until("Number(document.querySelector('#facts dd').innerText) > 0");
    browser.until("document.querySelector('#p50').innerText !== '–'");
    keep(&mut browser, "light");
    // The report.
    let report = browser.value("document.querySelector('.links a').href");
    browser.open(report.as_str().unwrap());
    browser.until("document.querySelector('h1')?.innerText.startsWith('Audit of')");
    browser.until("document.querySelector('.bars i').getBoundingClientRect().width > 0");
    assert_eq!(browser.complaints, Vec::<String>::new());
}

/// Keeps a picture of the page where one is wanted.
fn keep(browser: &mut Browser, name: &str) {
    if let Some(folder) = std::env::var_os("RIFT_SCREENSHOTS") {
        let picture = browser.picture((1160, 900));
        picture.save(std::path::Path::new(&folder).join(format!("{name}.png"))).unwrap();
    }
}

#[test]
fn it_speaks_german_and_japanese() {
    for (language, tag, texts) in [
        ("de-AT", "de", ["Bild wählen", "bereit", "Prüfung"]),
        ("ja-JP", "ja", ["画像を選ぶ", "準備完了", "監査"]),
    ] {
        let Some(mut browser) = Browser::start(language) else { return };
        let place = place();
        let serving = Serving::of(&place, &["--enable-attack-demo"]);
        browser.open(&format!("http://{}/", serving.address));
        browser.until(&format!("document.querySelector('#ready').innerText === '{}'", texts[1]));
        assert_eq!(browser.value("document.documentElement.lang"), tag);
        let page = browser.text("body");
        for text in [texts[0], texts[2]] {
            assert!(page.contains(text), "{page}");
        }
        browser.choose("#file", &place.path("a.png"));
        browser.until("document.querySelector('#last figcaption a:not([hidden])')");
        let page = browser.text("body");
        for english in ["undefined", "Within", "stability", "gradients"] {
            assert!(!page.contains(english), "{english}: {page}");
        }
        assert_eq!(browser.complaints, Vec::<String>::new());
    }
}

#[test]
fn every_text_is_there_in_every_language() {
    let Some(mut browser) = Browser::start("en-US") else { return };
    let place = place();
    let serving = Serving::of(&place, &[]);
    browser.open(&format!("http://{}/", serving.address));
    let all = "fetch('/page/texts.js').then((file) => file.text())";
    browser.until("document.querySelector('#ready').innerText === 'ready'");
    let source = browser.value(all).as_str().unwrap().to_owned();
    let keys = |name: &str| -> Vec<(String, Vec<String>)> {
        let start = source.find(&format!("const {name} = {{")).unwrap();
        let block = &source[start..start + source[start..].find("\n};").unwrap()];
        // `key: "text"`, several a line.
        let parts = block.split("\", ").flat_map(|part| part.split("\",\n"));
        let mut keys: Vec<(String, Vec<String>)> = parts
            .filter_map(|part| part.rsplit_once(": \"").or_else(|| part.split_once(": \"")))
            .map(|(key, text)| {
                let key = key.rsplit([' ', '\n']).next().unwrap().to_owned();
                let mut holes: Vec<String> = text
                    .split('{')
                    .skip(1)
                    .map(|rest| rest.split('}').next().unwrap().to_owned())
                    .collect();
                holes.sort();
                (key, holes)
            })
            .collect();
        keys.sort();
        keys
    };
    let english = keys("EN");
    assert!(english.len() > 50, "{}", english.len());
    assert_eq!(keys("DE"), english);
    assert_eq!(keys("JA"), english);
    // Off is said, and the slider does nothing.
    browser.until("document.querySelector('#verdict').innerText.includes('--enable-attack-demo')");
    assert_eq!(browser.value("document.querySelector('#eps').disabled"), true);
}

/// The luminance of a colour as WCAG 2 has it.
fn luminance([r, g, b]: [u8; 3]) -> f64 {
    let linear = |value: u8| {
        let value = f64::from(value) / 255.0;
        if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    };
    0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b)
}

#[test]
fn light_and_dark_are_readable() {
    let Some(mut browser) = Browser::start("en-US") else { return };
    let place = place();
    let serving = Serving::of(&place, &["--enable-attack-demo"]);
    let mut backgrounds = Vec::new();
    for scheme in ["light", "dark"] {
        let feature = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        browser.call("Emulation.setEmulatedMedia", &feature);
        browser.open(&format!("http://{}/", serving.address));
        browser.until("document.querySelector('#ready')?.innerText === 'ready'");
        browser.choose("#file", &place.path("a.png"));
        browser.until("document.querySelector('#last figcaption a:not([hidden])')");
        let picture = browser.picture((1160, 900));
        backgrounds.push(luminance(picture.get_pixel(2, 2).0));
        keep(&mut browser, scheme);
        // Every text against what lies behind it.
        let colours = browser.value(
            "[...document.querySelectorAll('body *')].filter((e) => e.checkVisibility() && \
             [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim())).map((e) => { \
             let b = e; while (b.parentElement && getComputedStyle(b).backgroundColor === \
             'rgba(0, 0, 0, 0)') b = b.parentElement; \
             return [e.outerHTML, getComputedStyle(e).color, getComputedStyle(b).backgroundColor]; })",
        );
        let rgb = |text: &str| -> [u8; 3] {
            let inner = text.split(['(', ')']).nth(1).unwrap();
            let numbers: Vec<u8> = inner.split(", ").map(|n| n.parse().unwrap()).collect();
            [numbers[0], numbers[1], numbers[2]]
        };
        let colours = colours.as_array().unwrap();
        assert!(colours.len() > 20, "{}", colours.len());
        for colour in colours {
            let [front, back] = [1, 2].map(|at| luminance(rgb(colour[at].as_str().unwrap())));
            let contrast = (front.max(back) + 0.05) / (front.min(back) + 0.05);
            assert!(contrast >= 4.5, "{scheme} {contrast:.2}: {colour}");
        }
    }
    assert!(backgrounds[0] > 0.8 && backgrounds[1] < 0.05, "{backgrounds:?}");
}

#[test]
fn the_keyboard_and_a_token_are_enough() {
    let Some(mut browser) = Browser::start("en-US") else { return };
    let place = place();
    fs::write(place.path("tokens"), "a-token-of-the-operator").unwrap();
    let serving = Serving::of(&place, &["--enable-attack-demo", "--token-file", "tokens"]);
    browser.open(&format!("http://{}/", serving.address));
    browser.until("document.querySelector('#door').open");
    browser.write("a-token-of-somebody-else");
    browser.press(ENTER);
    browser.until("document.querySelector('#door-wrong').innerText === 'This token is not valid.'");
    browser.write("a-token-of-the-operator");
    browser.press(ENTER);
    browser.until("document.querySelector('#ready').innerText === 'ready'");
    let kept =
        browser.value("document.cookie + JSON.stringify({...localStorage, ...sessionStorage})");
    assert_eq!(kept, "{}");
    browser.choose("#file", &place.path("a.png"));
    browser.until("document.querySelector('#last figcaption a:not([hidden])')");
    // Tab reaches everything, and it can be seen where one is.
    let mut reached = Vec::new();
    browser.value("document.activeElement.blur()");
    for _ in 0..12 {
        browser.press(TAB);
        let focus = browser.value(
            "(() => { const e = document.activeElement, s = (e.id === 'file' ? e.parentElement : e); \
             return [e.id || e.innerText, getComputedStyle(s).outlineStyle]; })()",
        );
        if focus[0] != "" && focus[1] != "none" {
            reached.push(focus[0].as_str().unwrap().to_owned());
        }
    }
    for id in ["model", "file", "eps", "save"] {
        assert!(reached.iter().any(|reached| reached == id), "{id}: {reached:?}");
    }
    // What a screen reader is told.
    let heard = browser.read_out();
    let has = |role: &str, part: &str| {
        assert!(
            heard.iter().any(|(r, name)| r == role && name.contains(part)),
            "{role} {part}: {heard:?}"
        );
    };
    has("slider", "How far the attack may go");
    has("combobox", "Model");
    has("image", "The picture as the model sees it");
    has("image", "which the model takes for");
    has("table", "");
    has("rowheader", "cat");
    has("status", "");
    has("region", "Audit");
    has("main", "");
    // The only complaints are those about the token.
    assert!(browser.complaints.iter().all(|one| one.contains("401")), "{:?}", browser.complaints);
}
