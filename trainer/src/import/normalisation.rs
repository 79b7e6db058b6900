//! The normalisation that a file keeps as buffers.

use std::collections::BTreeMap;

use super::{ImportError, Settings};

/// What is subtracted, and what is divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Statistic {
    Mean,
    Std,
}

impl Statistic {
    /// As a flag of `import`.
    fn flag(self) -> &'static str {
        match self {
            Self::Mean => "--mean",
            Self::Std => "--std",
        }
    }
}

/// Which of the two a buffer of this name keeps, if it keeps one.
pub(super) fn statistic(name: &str) -> Option<Statistic> {
    match name.rsplit('.').next() {
        Some("mean" | "mu" | "means" | "new_mean") => Some(Statistic::Mean),
        Some("std" | "sigma" | "sds" | "new_std") => Some(Statistic::Std),
        _ => None,
    }
}

/// Mean and standard deviation of each channel: those that are given, else those of the buffers,
/// else none.
pub(super) fn of(
    path: &str,
    settings: &Settings,
    buffers: &BTreeMap<String, Vec<f32>>,
) -> Result<[Vec<f32>; 2], ImportError> {
    let channels = settings.input[0];
    let pick = |given: &Option<Vec<f32>>, which, other, neutral: f32| {
        if let Some(given) = given {
            return Ok(given.clone());
        }
        match kept(path, buffers, which, channels)? {
            Some(values) => Ok(values),
            None => match buffers.keys().find(|name| statistic(name) == Some(other)) {
                Some(name) => Err(ImportError::HalfNormalised {
                    path: path.to_owned(),
                    name: name.clone(),
                    flag: which.flag(),
                }),
                None => Ok(vec![neutral; channels]),
            },
        }
    };
    let (mean, std) = (Statistic::Mean, Statistic::Std);
    Ok([pick(&settings.mean, mean, std, 0.0)?, pick(&settings.std, std, mean, 1.0)?])
}

/// What the buffers say of a statistic, a value a channel; one value stands for all channels.
fn kept(
    path: &str,
    buffers: &BTreeMap<String, Vec<f32>>,
    which: Statistic,
    channels: usize,
) -> Result<Option<Vec<f32>>, ImportError> {
    let mut found: Option<(&String, Vec<f32>)> = None;
    for (name, values) in buffers.iter().filter(|(name, _)| statistic(name) == Some(which)) {
        let (path, flag) = (path.to_owned(), which.flag());
        let values = match values.as_slice() {
            [value] => vec![*value; channels],
            values if values.len() == channels => values.to_vec(),
            values => {
                let (name, found) = (name.clone(), values.len());
                return Err(ImportError::Statistic { path, name, channels, found, flag });
            }
        };
        match &found {
            Some((first, before)) if *before != values => {
                let (first, second) = ((*first).clone(), name.clone());
                return Err(ImportError::Statistics { path, first, second, flag });
            }
            Some(_) => {}
            None => found = Some((name, values)),
        }
    }
    Ok(found.map(|(_, values)| values))
}
