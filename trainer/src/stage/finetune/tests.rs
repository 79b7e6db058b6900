//! What moves, what does not, and what leads nowhere.

use rift_models::arch::ArchSpec;
use tch::Device;

use super::*;
use crate::stage::fixture;

const INPUT: [usize; 3] = [3, 12, 12];

fn network() -> Network {
    let graph = ArchSpec { width: Some(4), ..ArchSpec::new("resnet8", INPUT, 4) };
    Network::initialise(graph.build().unwrap(), 1, Device::Cpu).unwrap()
}

fn settings(scope: Scope, batch_norm: BatchNormPolicy) -> FinetuneSettings {
    let paper = FinetuneSettings::paper(scope, INPUT);
    FinetuneSettings { batch_norm, lr: 0.05, epochs: 3, batch: 16, ..paper }
}

fn tuned(settings: &FinetuneSettings) -> Finetuned {
    let sets = [fixture::images(48, INPUT, 4), fixture::images(16, INPUT, 4)];
    finetune(&network(), [&sets[0], &sets[1]], settings, &Progress::hidden()).unwrap()
}

/// The names of the tensors that moved.
fn moved(state: &TensorMap) -> Vec<String> {
    let before = network().state().unwrap();
    before.keys().filter(|name| before[*name] != state[*name]).cloned().collect()
}

fn one(name: &str) -> Scope {
    Scope::Modules(vec![name.to_owned()])
}

#[test]
fn moves_the_module_and_nothing_else() {
    let frozen = settings(one("layer2.0.conv2"), BatchNormPolicy::Frozen);
    let first = tuned(&frozen);
    assert_eq!(moved(&first.state), ["layer2.0.conv2.weight"]);
    assert_eq!((&first.modules, first.epochs.len()), (&vec!["layer2.0.conv2".to_owned()], 3));
    assert_eq!(tuned(&frozen).state, first.state, "the same seed gives the same weights");
    let last = tuned(&settings(Scope::Last, BatchNormPolicy::Frozen));
    assert_eq!(moved(&last.state), ["linear.bias", "linear.weight"]);
    assert!(last.epochs[2].loss < last.epochs[0].loss, "{:?}", last.epochs);
}

#[test]
fn the_reference_lets_all_running_statistics_drift() {
    let found = tuned(&settings(one("conv1"), BatchNormPolicy::Reference));
    let moved = moved(&found.state);
    let statistics = network().entries().filter(|(p, _)| p.name.contains("running")).count();
    assert_eq!(moved.len(), statistics + 1, "{moved:?}");
    let others: Vec<_> = moved.iter().filter(|name| !name.contains("running")).collect();
    assert_eq!(others, ["conv1.weight"]);
}

#[test]
fn statistics_alone_can_be_estimated_anew() {
    let found = tuned(&settings(Scope::Statistics, BatchNormPolicy::Reference));
    let moved = moved(&found.state);
    let statistics = network().entries().filter(|(p, _)| p.name.contains("running")).count();
    assert_eq!(moved.len(), statistics, "{moved:?}");
    assert!(moved.iter().all(|name| name.contains("running")));
}

#[test]
fn all_is_every_parameter() {
    let found = tuned(&settings(Scope::All, BatchNormPolicy::Reference));
    assert_eq!(moved(&found.state).len(), network().entries().count());
    assert_eq!(found.modules.len(), network().graph().modules().count());
}

#[test]
fn the_best_epoch_is_kept_and_the_rate_falls_at_half() {
    let four = FinetuneSettings { epochs: 4, ..settings(Scope::Last, BatchNormPolicy::Frozen) };
    let found = tuned(&four);
    let rates: Vec<f64> = found.epochs.iter().map(|row| row.lr).collect();
    assert_eq!(rates, [0.05, 0.05, 0.05 * 0.1, 0.05 * 0.1]);
    let most = found.epochs.iter().map(|row| row.clean.correct).max().unwrap();
    let first = found.epochs.iter().find(|row| row.clean.correct == most).unwrap();
    assert_eq!(found.best, first.epoch);
    // What is kept is what was judged.
    let network = network();
    network.set_state(&found.state).unwrap();
    let images = fixture::images(16, INPUT, 4);
    let again = evaluate(&network, &images, &Plan::clean(), &Progress::hidden()).unwrap();
    assert_eq!(again.clean_accuracy(), first.clean);
}

#[test]
fn statistics_beyond_all_numbers_are_a_divergence() {
    let sets = [fixture::images(32, INPUT, 4), fixture::images(8, INPUT, 4)];
    // The first step leaves weights whose activations have a variance that is no number, by
    // which the second batch is divided: every loss on the way is fine.
    let reference = settings(one("conv1"), BatchNormPolicy::Reference);
    let wild = FinetuneSettings { lr: 1e25, epochs: 1, ..reference };
    let error = finetune(&network(), [&sets[0], &sets[1]], &wild, &Progress::hidden());
    let error = error.unwrap_err();
    let FinetuneError::NotFinite { epoch: 1, .. } = &error else { panic!("{error}") };
    let text = error.to_string();
    assert!(text.starts_with("`bn1.running_var` after epoch 1 is inf, expected"), "{text}");
}

#[test]
fn refuses_what_leads_nowhere() {
    let sets = [fixture::images(16, INPUT, 4), fixture::images(8, INPUT, 4)];
    let run = |settings: &FinetuneSettings| {
        finetune(&network(), [&sets[0], &sets[1]], settings, &Progress::hidden()).unwrap_err()
    };
    // A part of a name is not a name.
    let part = run(&settings(one("layer2.0.conv"), BatchNormPolicy::Frozen)).to_string();
    assert!(part.contains("no module `layer2.0.conv`, did you mean `layer2.0.conv"), "{part}");
    let wild = FinetuneSettings { lr: 1e30, ..settings(Scope::All, BatchNormPolicy::Frozen) };
    assert!(matches!(run(&wild), FinetuneError::NotFinite { .. }));
    let nothing = settings(Scope::Statistics, BatchNormPolicy::Frozen);
    assert!(matches!(run(&nothing), FinetuneError::Nothing));
    let augment = Augment { pad: 12, flip: true };
    let wide = FinetuneSettings { augment, ..settings(Scope::Last, BatchNormPolicy::Reference) };
    assert!(matches!(run(&wide), FinetuneError::Pad { pad: 12, .. }));
    let none = FinetuneSettings { epochs: 0, ..settings(Scope::Last, BatchNormPolicy::Frozen) };
    assert!(matches!(run(&none), FinetuneError::Epochs));
}
