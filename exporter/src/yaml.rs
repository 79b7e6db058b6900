//! YAML in block style, for manifests and for the head of a model card.
//!
//! Scalars are written as in JSON, which YAML reads, so that nothing is taken for a date, a number
//! or a truth value that is a text.

use std::fmt::Write;

use serde_json::Value;

/// Words that YAML 1.1 takes for truth values or nothing where they stand without quotes.
const RESERVED: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];

/// A value as YAML, ending with a line break.
pub fn yaml(value: &Value) -> String {
    let mut text = String::new();
    block(&mut text, value, 0);
    text
}

fn block(text: &mut String, value: &Value, depth: usize) {
    let indent = "  ".repeat(depth);
    let mut entry = |head: &str, value: &Value| match value {
        Value::Object(map) if !map.is_empty() => {
            text.extend([head, "\n"]);
            block(text, value, depth + 1);
        }
        Value::Array(list) if !list.is_empty() => {
            text.extend([head, "\n"]);
            block(text, value, depth + 1);
        }
        value => text.extend([head, " ", &scalar(value), "\n"]),
    };
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                entry(&format!("{indent}{}:", key(name)), value);
            }
        }
        Value::Array(list) => {
            for value in list {
                entry(&format!("{indent}-"), value);
            }
        }
        value => text.extend([&indent, scalar(value).as_str(), "\n"]),
    }
}

fn key(name: &str) -> String {
    let is_plain = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
        && !RESERVED.contains(&name.to_ascii_lowercase().as_str());
    if is_plain { name.to_owned() } else { scalar(&Value::from(name)) }
}

fn scalar(value: &Value) -> String {
    let json = value.to_string();
    // YAML 1.1 takes `1e-5` for a text.
    if let Some(number) = value.as_f64().filter(|_| value.is_f64() && json.contains('e')) {
        return number.to_string();
    }
    let mut text = String::new();
    for c in json.chars() {
        // What YAML does not allow, or reads as the end of a line.
        let odd = matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}');
        if c.is_control() || odd {
            // Writing to a string cannot fail.
            let _ = write!(text, "\\u{:04x}", c as u32);
        } else {
            text.push(c);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn is_in_blocks_with_scalars_of_json() {
        let value = json!({ "a": { "b": [1, { "c": "d: #" }], "e": {} }, "on": true, "x/y": "on", "z": 0.5 });
        let expected = "a:\n  b:\n    - 1\n    -\n      c: \"d: #\"\n  e: {}\n\"on\": true\n\
                        \"x/y\": \"on\"\nz: 0.5\n";
        assert_eq!(yaml(&value), expected);
    }

    #[test]
    fn comes_back_as_it_was() {
        let value = json!({
            "null": null,
            "y": ["no", "1e5", "2026-01-01", "", "- a", "ä\u{7f}\u{85}\u{2028}\u{feff}\n\t\"\\"],
            "deep": [[1, [2]], [], { "a": [{ "b": -1 }] }],
            "small": 1.5e-7,
            "smaller": 1e-9,
            "clean": 0.87,
        });
        let back: Value = serde_saphyr::from_str(&yaml(&value)).unwrap();
        assert_eq!(back, value);
    }
}
