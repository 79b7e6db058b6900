//! A preset, under a file, under flags.

use std::path::Path;

use rift_models::threat::Epsilon;
use toml::{Table, Value};

use super::{ConfigError, Preset, SettingFlags, Settings, one_line, takes};
use crate::objective::Method;
use crate::optim::ScheduleKind;

impl Settings {
    /// The settings of `preset`, under those of the file, under the flags.
    ///
    /// Where the number of epochs is changed and milestones are not given, the preset's milestones
    /// keep their place in the training. Where the radius is changed and a step is not given, the
    /// step keeps its part of the radius. Where the method is another than the preset's, it brings
    /// its own usual values.
    ///
    /// # Errors
    /// If the file cannot be read, a key is unknown or missing, a value is impossible, or one has
    /// no effect beside the others.
    pub fn resolve(
        preset: Preset,
        file: Option<&Path>,
        flags: &SettingFlags,
    ) -> Result<Self, ConfigError> {
        let mut base = preset.table()?;
        let file = file.map(read_table).transpose()?.unwrap_or_default();
        let flags = Table::try_from(flags).map_err(|error| ConfigError::Key(one_line(&error)))?;
        let mut given = file.clone();
        given.extend(flags.clone());
        let from = method(&base)?.unwrap_or(Method::At);
        let method = method(&given)?.unwrap_or(from);
        takes::check_method(&given, method)?;
        takes::adapt(&mut base, from, method);
        check_radius(&given, method)?;
        let preset_epochs = base.get("epochs").and_then(Value::as_integer);
        let moves = given.contains_key("epochs") && !given.contains_key("milestones");
        let mut table = layered(base, &file, &flags);
        takes::check_owners(&table, &given)?;
        let schedule = table.get("schedule").and_then(Value::as_str).and_then(|s| s.parse().ok());
        takes::check_flags(&flags, method, schedule)?;
        usual(&mut table, method);
        let mut settings: Self = table.try_into().map_err(|error| missing(&error))?;
        if let (true, Some(epochs)) = (moves, preset_epochs) {
            let epochs = usize::try_from(epochs).unwrap_or(1).max(1);
            settings.milestones = moved(&settings.milestones, epochs, settings.epochs);
        }
        settings.validate()?;
        if flags.contains_key("milestones") && settings.schedule == ScheduleKind::Steps {
            settings.check_milestones()?;
        }
        Ok(settings)
    }
}

/// The method that a table names.
fn method(table: &Table) -> Result<Option<Method>, ConfigError> {
    let name = table.get("method").and_then(Value::as_str);
    let parsed = name.map(str::parse).transpose();
    parsed.map_err(|error: crate::objective::MethodError| ConfigError::Key(error.to_string()))
}

/// The preset, under the file, under the flags.
fn layered(preset: Table, file: &Table, flags: &Table) -> Table {
    let mut table = preset;
    follow(&mut table, file);
    table.extend(file.clone());
    // A step that the file has without a radius is meant as it is.
    if file.contains_key("eps") || !file.contains_key("step") {
        follow(&mut table, flags);
    }
    table.extend(flags.clone());
    table
}

/// Keeps the step's part of the radius where a radius comes `above` without a step of its own.
fn follow(below: &mut Table, above: &Table) {
    let length = |table: &Table, key: &str| -> Option<Epsilon> {
        table.get(key).and_then(Value::as_str).and_then(|text| text.parse().ok())
    };
    let old = length(below, "eps").filter(|eps| eps.value() > 0.0);
    let (Some(eps), Some(old), Some(step)) = (length(above, "eps"), old, length(below, "step"))
    else {
        return;
    };
    // As exact as the radii are, so that it is written without the noise of their quotient.
    let part = f64::from(eps.value()) / f64::from(old.value());
    let part = format!("{part:.5e}").parse().unwrap_or(part);
    if let (false, Ok(step)) = (above.contains_key("step"), step.times(part)) {
        below.insert("step".to_owned(), String::from(step).into());
    }
}

/// The milestones of a training of `before` epochs in one of `epochs`: in the same places, each at
/// least an epoch before the next and the last one at least an epoch before the end. Those that come
/// to lie at the beginning are left out.
fn moved(milestones: &[usize], before: usize, epochs: usize) -> Vec<usize> {
    let mut next = epochs;
    let mut moved: Vec<usize> = milestones
        .iter()
        .rev()
        .map(|milestone| {
            next = (milestone.saturating_mul(epochs) / before).min(next.saturating_sub(1));
            next
        })
        .filter(|milestone| *milestone > 0)
        .collect();
    moved.reverse();
    moved
}

/// Another norm makes the preset's lengths mean nothing.
fn check_radius(given: &Table, method: Method) -> Result<(), ConfigError> {
    if given.get("norm").and_then(Value::as_str) != Some("l2") || method == Method::Standard {
        return Ok(());
    }
    for (key, expected) in [("eps", "a radius, such as `0.5`"), ("step", "such as `0.1`")] {
        let follows = key == "step" && method == Method::FastAt;
        if !follows && !given.contains_key(key) {
            return Err(ConfigError::Value { key, found: "not set".to_owned(), expected });
        }
    }
    Ok(())
}

/// What the attack of a method ascends, and from where; nothing for a method without one.
fn usual_attack(method: Method, two_terms: bool) -> Option<[&'static str; 2]> {
    Some(match method {
        Method::Standard => return None,
        Method::At | Method::FastAt => ["ce", "uniform"],
        Method::Trades => ["kl", "gaussian"],
        Method::Mart => ["ce", "gaussian"],
        Method::Score if two_terms => ["squared", "gaussian"],
        Method::Score => ["squared", "uniform"],
    })
}

/// Settles what nobody has said by what is usual for the method.
fn usual(table: &mut Table, method: Method) {
    let two_terms = table.contains_key("beta");
    let flag = |key: &str| table.get(key).and_then(Value::as_bool).unwrap_or(false);
    let (awp, ema, extra) =
        (flag("awp"), table.contains_key("ema"), table.contains_key("extra_data"));
    let eps = table.get("eps").and_then(Value::as_str).and_then(|e| e.parse::<Epsilon>().ok());
    let mut set = |key: &str, value: Value| {
        table.entry(key).or_insert(value);
    };
    if let Some([inner, start]) = usual_attack(method, two_terms) {
        set("inner_loss", inner.into());
        set("start", start.into());
        set("craft_mode", "eval".into());
    }
    match method {
        Method::Trades => set("beta", 6.0.into()),
        Method::Mart => set("beta", 5.0.into()),
        Method::Score => set("loss_clip", if two_terms { 0.3 } else { 0.4 }.into()),
        Method::FastAt => {
            set("steps", 1.into());
            set("probe_every", 50.into());
            set("probe_steps", 5.into());
            set("on_overfitting", "pgd".into());
        }
        Method::Standard | Method::At => {}
    }
    set("steps", 10.into());
    let length = if method == Method::FastAt { 1.25 } else { 0.25 };
    if let Some(Ok(step)) = eps.as_ref().map(|eps| eps.times(length)) {
        set("step", String::from(step).into());
    }
    if awp {
        set("awp_gamma", if method == Method::Trades { 0.005 } else { 0.01 }.into());
        set("awp_warmup", 0.into());
    }
    if ema {
        set("ema_warmup", 0.025.into());
    }
    if extra {
        set("extra_fraction", 0.7.into());
    }
}

fn read_table(path: &Path) -> Result<Table, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    text.parse().map_err(|error: toml::de::Error| ConfigError::Syntax {
        path: path.to_owned(),
        reason: located(&error, &text),
    })
}

fn located(error: &toml::de::Error, text: &str) -> String {
    let line = error.span().map(|span| text[..span.start.min(text.len())].lines().count().max(1));
    let message = one_line(&error.message());
    line.map_or(message.clone(), |line| format!("line {line}: {message}"))
}

fn missing(error: &toml::de::Error) -> ConfigError {
    let message = one_line(&error.message());
    let hint = match message.as_str() {
        "missing field `data`" => " (give `--data PATH`, or the key in the file)",
        "missing field `arch`" => " (give `--arch NAME`, or the key in the file)",
        _ => "",
    };
    ConfigError::Key(format!("{message}{hint}"))
}
