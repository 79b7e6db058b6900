use rift_models::arch::ArchSpec;
use tch::{Device, Kind, Tensor};

use super::ascent::{Climb, climb, length, project};
use super::*;
use crate::network::to_vec;
use crate::stage::fixture;

fn settings() -> MrcSettings {
    MrcSettings {
        threat: AttackSpec { steps: 2, ..AttackSpec::paper() },
        radius: 0.1,
        steps: 4,
        ascent: Ascent::Normalized,
        joint: false,
        halves: false,
        batch: 16,
        cache_bytes: 1 << 30,
    }
}

fn network() -> Network {
    let graph = ArchSpec { width: Some(4), ..ArchSpec::new("resnet8", [3, 12, 12], 4) };
    Network::initialise(graph.build().unwrap(), 1, Device::Cpu).unwrap()
}

fn all(network: &Network, settings: &MrcSettings) -> Criticality {
    let modules: Vec<&str> = network.graph().modules().collect();
    let images = fixture::images(24, [3, 12, 12], 4);
    measure(network, &images, &modules, settings, &Progress::hidden()).unwrap()
}

#[test]
fn leaves_every_weight_as_it_was_and_repeats_itself() {
    let network = network();
    let before = network.state().unwrap();
    for ascent in [Ascent::Reference, Ascent::Normalized] {
        for joint in [true, false] {
            let all = all(&network, &MrcSettings { ascent, joint, steps: 2, ..settings() });
            assert!(all.rows.iter().all(|row| row.mrc > 0.0), "{ascent}, {joint}: {all:?}");
        }
    }
    let first = all(&network, &settings());
    assert_eq!(network.state().unwrap(), before);
    assert_eq!(all(&network, &settings()), first);
    assert!(first.rows.iter().all(|row| row.mrc > 0.0 && row.step > 0), "{first:?}");
    // Alone, then with the prefix computed again and again: a module that was not restored
    // exactly, or a stale activation, would show.
    let images = fixture::images(24, [3, 12, 12], 4);
    let bar = Progress::hidden();
    for uncached in [settings(), MrcSettings { cache_bytes: 0, ..settings() }] {
        for row in first.rows.iter().step_by(3) {
            let modules = [row.module.as_str()];
            let alone = measure(&network, &images, &modules, &uncached, &bar).unwrap();
            assert_eq!(alone.rows[0], *row);
        }
    }
}

#[test]
fn the_kept_activations_change_nothing() {
    let network = network();
    for ascent in [Ascent::Normalized, Ascent::Reference] {
        // With room for all batches, for some of them, and for none.
        let [all, some, none] = [1 << 30, 20_000, 0].map(|cache_bytes| {
            all(&network, &MrcSettings { cache_bytes, ascent, batch: 5, ..settings() })
        });
        for others in [some, none] {
            for (a, b) in all.rows.iter().zip(others.rows) {
                assert!((a.mrc - b.mrc).abs() <= 1e-6, "{ascent}: {a:?} {b:?}");
            }
        }
    }
}

#[test]
fn attacks_that_follow_the_weights_find_no_less() {
    let network = network();
    // Without a step the images are the same, whatever the weights.
    let still = AttackSpec { steps: 0, ..AttackSpec::paper() };
    let [fixed, joint] = [false, true]
        .map(|joint| all(&network, &MrcSettings { joint, threat: still.clone(), ..settings() }));
    for (a, b) in fixed.rows.iter().zip(&joint.rows) {
        assert!((a.mrc - b.mrc).abs() <= 1e-6, "{a:?} {b:?}");
    }
    let [fixed, joint] =
        [false, true].map(|joint| all(&network, &MrcSettings { joint, ..settings() }));
    assert_eq!(fixed.loss, joint.loss);
    let more = fixed.rows.iter().zip(&joint.rows).filter(|(a, b)| b.mrc > a.mrc).count();
    assert!(2 * more > fixed.rows.len(), "{fixed:?} {joint:?}");
}

#[test]
fn two_halves_are_measured_apart() {
    let network = network();
    let found = all(&network, &MrcSettings { halves: true, batch: 6, ..settings() });
    let correlation = found.halves.unwrap();
    assert!((-1.0..=1.0).contains(&correlation) && correlation > 0.3, "{correlation}");
    let whole = all(&network, &MrcSettings { batch: 6, ..settings() });
    assert_eq!((whole.rows, whole.halves), (found.rows, None));
    // One batch of all images stays one, also where its size tells in the result.
    let one = MrcSettings { ascent: Ascent::Reference, batch: 24, ..settings() };
    let found = all(&network, &MrcSettings { halves: true, ..one.clone() });
    assert_eq!(found.rows, all(&network, &one).rows);
    let small = all(&network, &MrcSettings { batch: 12, ..one.clone() });
    assert_ne!(found.rows, small.rows, "{:?}", one.describe());
    assert_eq!(
        (one.describe()["batch_size"].as_u64(), settings().describe().get("batch_size")),
        (Some(24), None)
    );
    let one = fixture::images(1, [3, 12, 12], 4);
    let settings = MrcSettings { halves: true, ..settings() };
    let error = measure(&network, &one, &[], &settings, &Progress::hidden());
    assert!(matches!(error, Err(MrcError::Halves(1))));
}

#[test]
fn does_not_depend_on_the_batch_size() {
    let network = network();
    let [one, other] = [7, 24].map(|batch| all(&network, &MrcSettings { batch, ..settings() }));
    for (a, b) in one.rows.iter().zip(&other.rows) {
        assert!((a.mrc - b.mrc).abs() < 1e-3 * a.mrc + 1e-6, "{a:?} {b:?}");
    }
}

#[test]
fn a_module_whose_output_is_killed_is_the_least_critical() {
    let network = network();
    let mut state = network.state().unwrap();
    state.get_mut("layer2.0.shortcut.1.weight").unwrap().fill(0.0);
    network.set_state(&state).unwrap();
    let found = all(&network, &settings());
    let least = found.rows.iter().min_by(|a, b| a.mrc.total_cmp(&b.mrc)).unwrap();
    assert_eq!((least.module.as_str(), least.mrc, least.step), ("layer2.0.shortcut.0", 0.0, 0));
    assert_eq!(found.rows.iter().filter(|row| row.mrc == 0.0).count(), 1);
}

#[test]
fn the_weights_stay_in_the_ball_and_reach_its_border() {
    let draw = |seed| {
        tch::manual_seed(seed);
        Tensor::randn([8, 4, 3, 3], (Kind::Float, Device::Cpu))
    };
    let original = draw(0);
    let weight = original.copy();
    let radius = 0.1 * length(&original).unwrap();
    for step in 1..=20 {
        // Uphill at first, then anywhere.
        let direction = draw(if step < 6 { 1 } else { step });
        let lengths = [radius / 4.0, radius];
        assert_eq!(climb([&weight, &original], &direction, lengths).unwrap(), Climb::Up);
        let far = length(&(&weight - &original)).unwrap();
        assert!(far <= radius * (1.0 + 1e-5), "step {step}: {far} beyond {radius}");
        if (4..6).contains(&step) {
            assert!(far >= radius * (1.0 - 1e-5), "step {step}: {far} within {radius}");
        }
    }
    let before = to_vec(&weight).unwrap();
    for (direction, expected) in
        [(weight.zeros_like(), Climb::Flat), (weight.full_like(f64::NAN), Climb::Lost)]
    {
        let lengths = [radius / 4.0, radius];
        assert_eq!(climb([&weight, &original], &direction, lengths).unwrap(), expected);
    }
    assert_eq!(to_vec(&weight).unwrap(), before);
    // From far outside, onto the border; from nowhere, nowhere.
    let far = &original * 3.0;
    assert!(project([&far, &original], radius).unwrap());
    let left = length(&(&far - &original)).unwrap();
    assert!((left / radius - 1.0).abs() < 1e-5, "{left} {radius}");
    assert!(!project([&original.full_like(f64::NAN), &original], radius).unwrap());
}

#[test]
fn a_module_that_breaks_the_network_is_not_the_least_critical() {
    let network = network();
    let images = fixture::images(8, [3, 12, 12], 4);
    let wild = MrcSettings { radius: 1e60, ..settings() };
    let error = measure(&network, &images, &["linear"], &wild, &Progress::hidden());
    assert!(matches!(&error, Err(MrcError::Lost { module }) if module == "linear"), "{error:?}");
    // Half as far, until it is not too far.
    let far = MrcSettings { radius: 1e39, steps: 8, ..settings() };
    let row = measure(&network, &images, &["linear"], &far, &Progress::hidden());
    let row = row.map(|found| found.rows[0].clone());
    assert!(matches!(&row, Ok(row) if row.rejected > 0 && row.mrc > 0.0), "{row:?}");
    let mut state = network.state().unwrap();
    state.get_mut("linear.bias").unwrap().fill(f32::NAN);
    network.set_state(&state).unwrap();
    let error = measure(&network, &images, &[], &settings(), &Progress::hidden());
    assert!(matches!(error, Err(MrcError::NotFinite(_))));
}

#[test]
fn an_unknown_module_is_refused_with_near_names() {
    let images = fixture::images(8, [3, 12, 12], 4);
    let error = measure(&network(), &images, &["conv2"], &settings(), &Progress::hidden());
    assert!(error.unwrap_err().to_string().contains("did you mean"));
}
