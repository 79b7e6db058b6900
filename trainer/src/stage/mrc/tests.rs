use rift_models::arch::ArchSpec;
use tch::Device;

use super::*;
use crate::network::to_vec;
use crate::stage::fixture;

fn settings() -> MrcSettings {
    MrcSettings {
        threat: AttackSpec { steps: 2, ..AttackSpec::paper() },
        radius: 0.1,
        steps: 4,
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
        assert_eq!(climb([&weight, &original], &direction, radius).unwrap(), Climb::Up);
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
        assert_eq!(climb([&weight, &original], &direction, radius).unwrap(), expected);
    }
    assert_eq!(to_vec(&weight).unwrap(), before);
}

#[test]
fn a_module_that_breaks_the_network_is_not_the_least_critical() {
    let network = network();
    let images = fixture::images(8, [3, 12, 12], 4);
    let wild = MrcSettings { radius: 1e60, ..settings() };
    let error = measure(&network, &images, &["linear"], &wild, &Progress::hidden());
    assert!(matches!(&error, Err(MrcError::Lost { module }) if module == "linear"), "{error:?}");
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
