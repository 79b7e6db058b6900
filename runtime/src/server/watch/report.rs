//! What was seen as parameters of an answer.

use serde::Serialize;

use super::Seen;

/// A parameter's value, of those kinds that the protocol has.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(in crate::server) enum Parameter {
    /// Of one image.
    Number(f64),
    /// Of one image.
    Flag(bool),
    /// Of several images, in their order, with commas between.
    Text(String),
}

/// The names and values of what was seen of an answer's images.
pub(in crate::server) fn parameters(seen: &[Seen]) -> Vec<(&'static str, Parameter)> {
    let number = |value: f32| Parameter::Number(shortest(value));
    let all = [
        ("rift_margin", each(seen, |seen| Some(number(seen.margin)))),
        ("rift_stability", each(seen, |seen| Some(number(seen.stability)))),
        ("rift_unstable", each(seen, |seen| seen.unstable.map(Parameter::Flag))),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// The value of the only image, or those of all in one text.
fn each(seen: &[Seen], value: impl Fn(&Seen) -> Option<Parameter>) -> Option<Parameter> {
    let values: Vec<Parameter> = seen.iter().map(value).collect::<Option<_>>()?;
    match <[Parameter; 1]>::try_from(values) {
        Ok([only]) => Some(only),
        Err(values) => {
            let text = |value: &Parameter| match value {
                Parameter::Number(number) => number.to_string(),
                Parameter::Flag(flag) => flag.to_string(),
                Parameter::Text(text) => text.clone(),
            };
            Some(Parameter::Text(values.iter().map(text).collect::<Vec<_>>().join(",")))
        }
    }
}

/// The number that is written as the float is: 0.1, not 0.10000000149.
fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_image_is_a_number_and_several_are_a_list() {
        let one = Seen { margin: 0.1, stability: -2.0, unstable: Some(true) };
        let json = |seen: &[Seen]| {
            let all = parameters(seen).into_iter().map(|(name, value)| (name.to_owned(), value));
            serde_json::to_string(&all.collect::<std::collections::BTreeMap<_, _>>()).unwrap()
        };
        assert_eq!(
            json(&[one]),
            r#"{"rift_margin":0.1,"rift_stability":-2.0,"rift_unstable":true}"#
        );
        let other = Seen { margin: 3.5, stability: 1.0, unstable: Some(false) };
        assert_eq!(
            json(&[one, other]),
            r#"{"rift_margin":"0.1,3.5","rift_stability":"-2,1","rift_unstable":"true,false"}"#
        );
        assert!(!json(&[Seen { unstable: None, ..one }]).contains("unstable"));
    }
}
