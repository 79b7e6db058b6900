//! Settings from presets, files and flags.

use std::path::PathBuf;

use super::*;

fn flags() -> SettingFlags {
    SettingFlags {
        data: Some("images".into()),
        arch: Some("resnet18".into()),
        ..SettingFlags::default()
    }
}

fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.toml");
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

#[test]
fn flags_go_before_the_file_before_the_preset() {
    let (_folder, path) = file("epochs = 20\nsteps = 7\nflip = false\n");
    let given = SettingFlags { steps: Some(3), ..flags() };
    let settings = Settings::resolve(Preset::RiftPaper, Some(&path), &given).unwrap();
    assert_eq!((settings.epochs, settings.steps, settings.flip), (20, 3, Some(false)));
    assert_eq!((settings.batch_size, settings.momentum), (128, 0.9));
    assert_eq!(settings.milestones, [18, 19], "in the same places of a shorter training");
}

#[test]
fn milestones_stay_within_a_short_training() {
    let of = |preset, epochs| {
        let given = SettingFlags { epochs: Some(epochs), ..flags() };
        Settings::resolve(preset, None, &given).unwrap().milestones
    };
    for (preset, epochs, expected) in [
        (Preset::RiftPaper, 110, &[100, 105][..]),
        (Preset::RiftPaper, 220, &[200, 210]),
        (Preset::RiftPaper, 10, &[8, 9]),
        (Preset::RiftPaper, 3, &[1, 2]),
        (Preset::RiftPaper, 2, &[1]),
        (Preset::RiftPaper, 1, &[]),
        (Preset::Mart, 120, &[74, 89, 99]),
        (Preset::Mart, 12, &[7, 8, 9]),
        (Preset::Trades, 10, &[9]),
        (Preset::Quick, 3, &[]),
    ] {
        assert_eq!(of(preset, epochs), expected, "{preset:?} in {epochs} epochs");
    }
    let given = |milestones: &[usize]| SettingFlags {
        epochs: Some(15),
        milestones: Some(milestones.to_vec()),
        ..flags()
    };
    let error = Settings::resolve(Preset::RiftPaper, None, &given(&[10, 15])).unwrap_err();
    let expected = "`milestones` is `15`, expected fewer than the epochs";
    assert!(error.to_string().contains(expected), "{error}");
    assert!(Settings::resolve(Preset::RiftPaper, None, &given(&[10, 14])).is_ok());
    // Where nothing falls at them they may be anywhere; so may those of a training that began earlier.
    assert!(resolve(Preset::Quick, "milestones = [100]", &flags()).is_ok());
    assert!(resolve(Preset::RiftPaper, "epochs = 3\nmilestones = [3, 3]", &flags()).is_ok());
}

#[test]
fn the_step_keeps_its_part_of_the_radius() {
    let eps = |text: &str| Some(text.parse().unwrap());
    let step = |preset, file: &str, flags: &SettingFlags| {
        resolve(preset, file, flags).unwrap().step.to_string()
    };
    let only = |text: &str| SettingFlags { eps: eps(text), ..flags() };
    for (preset, radius, expected) in [
        (Preset::Quick, "8/255", "4/255"),
        (Preset::Quick, "1/255", "0.5/255"),
        (Preset::RiftPaper, "6/255", "1.5/255"),
        (Preset::RiftPaper, "0.03", "1.9125/255"),
        (Preset::FastAt, "4/255", "5/255"),
        (Preset::Trades, "0.062", "0.014"),
    ] {
        assert_eq!(step(preset, "", &only(radius)), expected, "{preset:?} {radius}");
        assert_eq!(step(preset, &format!("eps = '{radius}'"), &flags()), expected);
    }
    let both = SettingFlags { step: eps("2/255"), ..only("1/255") };
    assert_eq!(step(Preset::Quick, "", &both), "2/255");
    // Also the step of a file, but not one that was given without a radius.
    let file = "eps = '4/255'\nstep = '2/255'";
    assert_eq!(step(Preset::RiftPaper, file, &only("8/255")), "4/255");
    assert_eq!(step(Preset::RiftPaper, "step = '1/255'", &only("16/255")), "1/255");
}

#[test]
fn the_resolved_file_resolves_to_itself() {
    for preset in Preset::all() {
        let given = SettingFlags {
            mean: Some(vec![0.1, 0.2, 0.3]),
            epochs: Some(3),
            pad: Some(0),
            ..flags()
        };
        let settings = Settings::resolve(*preset, None, &given).unwrap();
        let (_folder, path) = file(&settings.to_toml().unwrap());
        let none = SettingFlags::default();
        for other in [Preset::RiftPaper, Preset::Quick] {
            assert_eq!(
                Settings::resolve(other, Some(&path), &none).unwrap(),
                settings,
                "{preset:?}"
            );
        }
    }
}

#[test]
fn refuses_what_it_does_not_know_in_one_line() {
    for (text, expected) in [
        ("learningrate = 0.1", "unknown field `learningrate`"),
        ("epochs = \"many\"", "invalid type"),
        ("eps = \"8/0\"", "expected a denominator other than 0"),
        ("epochs = 0", "`epochs` is `0`, expected at least 1"),
        ("momentum = 1.0", "`momentum` is `1`"),
        ("norm = \"l2\"", "`eps` is not set, expected a radius"),
        ("epochs = = 3", "line 1"),
    ] {
        let (_folder, path) = file(text);
        let error = Settings::resolve(Preset::Quick, Some(&path), &flags()).unwrap_err();
        let message = error.to_string();
        assert!(message.contains(expected) && !message.contains('\n'), "{text}: {message}");
    }
    let none = SettingFlags::default();
    let error = Settings::resolve(Preset::Quick, None, &none).unwrap_err().to_string();
    assert!(error.contains("`data`") && error.contains("--data"), "{error}");
}

fn resolve(preset: Preset, text: &str, flags: &SettingFlags) -> Result<Settings, ConfigError> {
    let (_folder, path) = file(text);
    Settings::resolve(preset, Some(&path), flags)
}

#[test]
fn a_method_brings_its_own_usual_values() {
    let method = |method| SettingFlags { method: Some(method), ..flags() };
    let of = |preset, m| Settings::resolve(preset, None, &method(m)).unwrap();
    let trades = of(Preset::RiftPaper, Method::Trades);
    assert_eq!((trades.beta, trades.inner_loss), (Some(6.0), Some(InnerLoss::Kl)));
    assert_eq!(trades.start, Some(Start::Gaussian));
    let mart = of(Preset::Trades, Method::Mart);
    assert_eq!((mart.beta, mart.inner_loss), (Some(5.0), Some(InnerLoss::Ce)));
    let at = of(Preset::Score, Method::At);
    assert_eq!((at.beta, at.loss_clip, at.inner_loss), (None, None, Some(InnerLoss::Ce)));
    let fast = of(Preset::RiftPaper, Method::FastAt);
    assert_eq!((fast.steps, fast.step.to_string().as_str()), (1, "10/255"));
    let slow = of(Preset::FastAt, Method::At);
    assert_eq!((slow.steps, slow.step.to_string().as_str()), (10, "2/255"));
    assert_eq!((slow.probe_every, slow.on_overfitting), (None, None));
    let standard = of(Preset::BagOfTricks, Method::Standard);
    assert_eq!((standard.inner_loss, standard.label_smoothing), (None, Some(0.1)));
    let two_terms = resolve(Preset::Score, "beta = 6.0", &flags()).unwrap();
    assert_eq!((two_terms.loss_clip, two_terms.start), (Some(0.4), Some(Start::Uniform)));
    let score = resolve(Preset::RiftPaper, "method = 'score'\nbeta = 6.0", &flags()).unwrap();
    assert_eq!((score.loss_clip, score.start), (Some(0.3), Some(Start::Gaussian)));
    let awp = resolve(Preset::RiftPaper, "awp = true\nmethod = 'trades'", &flags()).unwrap();
    assert_eq!((awp.awp_gamma, awp.awp_warmup), (Some(0.005), Some(0)));
}

#[test]
fn refuses_what_has_no_effect() {
    for (preset, text, expected) in [
        (Preset::RiftPaper, "beta = 6.0", "`beta` has no effect with the method `at`, only with"),
        (Preset::Trades, "loss_clip = 0.4", "`loss_clip` has no effect with the method `trades`"),
        (Preset::Mart, "label_smoothing = 0.1", "`label_smoothing` has no effect"),
        (Preset::RiftPaper, "method = 'standard'\ninner_loss = 'kl'", "`inner_loss` has no"),
        (Preset::RiftPaper, "probe_every = 5", "`probe_every` has no effect with the method `at`"),
        (Preset::RiftPaper, "awp_gamma = 0.01", "`awp_gamma` has no effect without `awp`"),
        (Preset::RiftPaper, "awp = false\nawp_warmup = 1", "`awp_warmup` has no effect without"),
        (Preset::RiftPaper, "extra_fraction = 0.5", "without `extra_data`, the file of those"),
        (Preset::RiftPaper, "ema_warmup = 0.1", "`ema_warmup` has no effect without `ema`"),
        (Preset::FastAt, "steps = 7", "`steps` is `7`, expected 1 with the method `fast-at`"),
        (Preset::RiftPaper, "label_smoothing = 0.6", "expected from 0 to 0.5"),
        (Preset::RiftPaper, "nesterov = true\nmomentum = 0.0", "`false` without momentum"),
        (Preset::RiftPaper, "method = 'madry'", "unknown method `madry`, expected one of"),
        (Preset::RiftPaper, "inner_loss = 'dlr'", "unknown variant `dlr`"),
        (Preset::Awp, "awp_warmup = 200", "`awp_warmup` is `200`, expected fewer than"),
    ] {
        let message = resolve(preset, text, &flags()).unwrap_err().to_string();
        assert!(message.contains(expected) && !message.contains('\n'), "{text}: {message}");
    }
}

#[test]
fn flags_are_meant_where_a_file_may_hold_more() {
    let standard = SettingFlags { method: Some(Method::Standard), ..flags() };
    assert!(resolve(Preset::RiftPaper, "eps = '4/255'\nsteps = 3", &standard).is_ok());
    for (given, expected) in [
        (SettingFlags { steps: Some(3), ..standard.clone() }, "`steps` has no effect with"),
        (SettingFlags { warmup: Some(0.3), ..flags() }, "`warmup` has no effect with the schedule"),
        (
            SettingFlags { schedule: Some(ScheduleKind::Cosine), decay: Some(0.3), ..flags() },
            "`decay` has no effect with the schedule `cosine`",
        ),
    ] {
        let error = Settings::resolve(Preset::RiftPaper, None, &given).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
