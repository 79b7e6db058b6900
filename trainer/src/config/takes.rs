//! Which settings mean something beside which others.

use toml::{Table, Value};

use super::ConfigError;
use crate::objective::Method;
use crate::optim::ScheduleKind;

/// The settings of a method's own, with the methods that take them.
const OWN: [(&str, &[Method]); 9] = [
    ("beta", &[Method::Trades, Method::Mart, Method::Score]),
    ("loss_clip", &[Method::Score]),
    (
        "label_smoothing",
        &[Method::Standard, Method::At, Method::Trades, Method::Score, Method::FastAt],
    ),
    ("inner_loss", ADVERSARIAL),
    ("start", ADVERSARIAL),
    ("craft_mode", ADVERSARIAL),
    ("probe_every", &[Method::FastAt]),
    ("probe_steps", &[Method::FastAt]),
    ("on_overfitting", &[Method::FastAt]),
];
const ADVERSARIAL: &[Method] =
    &[Method::At, Method::Trades, Method::Mart, Method::Score, Method::FastAt];

/// Settings whose usual values hang on the method: those of a preset for another say nothing.
const BY_METHOD: [&str; 5] = ["beta", "loss_clip", "inner_loss", "start", "awp_gamma"];

/// Settings of the attack that every configuration has. A file may hold them beside `standard`, as
/// the resolved settings of every run do; a flag is meant.
const ATTACK: [&str; 5] = ["norm", "eps", "step", "steps", "validation_steps"];

/// Removes from the settings of a preset for `from` what says nothing of a training by `method`.
pub(super) fn adapt(preset: &mut Table, from: Method, method: Method) {
    preset.retain(|key, _| {
        let key: &str = key;
        let own = OWN.iter().find(|(name, _)| *name == key);
        let taken = own.is_none_or(|(_, methods)| methods.contains(&method));
        taken && (from == method || !BY_METHOD.contains(&key))
    });
    // A single long step and several short ones have nothing in common.
    if (from == Method::FastAt) != (method == Method::FastAt) {
        preset.remove("step");
        preset.remove("steps");
    }
}

/// Checks that what was given means something for `method`.
pub(super) fn check_method(given: &Table, method: Method) -> Result<(), ConfigError> {
    for (key, methods) in OWN {
        if given.contains_key(key) && !methods.contains(&method) {
            let names: Vec<String> = methods.iter().map(|m| format!("`{m}`")).collect();
            let without = format!("with the method `{method}`, only with {}", names.join(", "));
            return Err(ConfigError::Idle { key, without });
        }
    }
    Ok(())
}

/// Checks that the flags mean something for a method and a schedule.
pub(super) fn check_flags(
    flags: &Table,
    method: Method,
    schedule: Option<ScheduleKind>,
) -> Result<(), ConfigError> {
    let idle = |key, without: String| Err(ConfigError::Idle { key, without });
    if let Some(key) = ATTACK.into_iter().find(|key| flags.contains_key(*key))
        && method == Method::Standard
    {
        return idle(key, "with the method `standard`, which trains without an attack".to_owned());
    }
    let Some(schedule) = schedule else {
        return Ok(());
    };
    let (steps, rises) = (
        schedule == ScheduleKind::Steps,
        matches!(schedule, ScheduleKind::OneCycle | ScheduleKind::Cyclic),
    );
    for (key, taken) in [("milestones", steps), ("decay", steps), ("warmup", rises)] {
        if flags.contains_key(key) && !taken {
            return idle(key, format!("with the schedule `{schedule}`"));
        }
    }
    Ok(())
}

/// Checks that what was given has what it belongs to.
pub(super) fn check_owners(all: &Table, given: &Table) -> Result<(), ConfigError> {
    for (key, owner, hint) in [
        ("awp_gamma", "awp", "`awp`"),
        ("awp_warmup", "awp", "`awp`"),
        ("ema_warmup", "ema", "`ema`"),
        ("extra_fraction", "extra_data", "`extra_data`, the file of those images"),
    ] {
        let there = all.get(owner).is_some_and(|value| *value != Value::Boolean(false));
        if given.contains_key(key) && !there {
            return Err(ConfigError::Idle { key, without: format!("without {hint}") });
        }
    }
    Ok(())
}
