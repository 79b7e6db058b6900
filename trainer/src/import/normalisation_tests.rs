//! Normalisations that files keep as buffers, and networks that they keep twice.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ndarray::ArrayD;
use rift_models::arch::{ArchSpec, init};
use rift_models::artifact::tensors::{self, TensorMap};

use super::*;

const INPUT: [usize; 3] = [3, 32, 32];

fn arch() -> ArchSpec {
    ArchSpec { width: Some(2), ..ArchSpec::new("resnet8", INPUT, 4) }
}

fn settings() -> Settings {
    Settings {
        arch: "resnet8".to_owned(),
        input: INPUT,
        width: Some(2),
        classes: None,
        mean: None,
        std: None,
        made_by: "test".to_owned(),
    }
}

/// A file of random weights under `module.model.`, and more.
fn file(folder: &Path, more: &[(&str, ArrayD<f32>)]) -> PathBuf {
    let ours = init::initialise(&arch().build().unwrap(), 3);
    let theirs = ours.into_iter().map(|(name, tensor)| (format!("module.model.{name}"), tensor));
    let more = more.iter().map(|(name, tensor)| ((*name).to_owned(), tensor.clone()));
    let path = folder.join("published.safetensors");
    tensors::write(&path, &theirs.chain(more).collect(), BTreeMap::new()).unwrap();
    path
}

fn of(shape: &[usize], value: f32) -> ArrayD<f32> {
    ArrayD::from_elem(shape, value)
}

#[test]
fn a_normalisation_of_one_value_is_that_of_every_channel() {
    let folder = tempfile::tempdir().unwrap();
    for (mean, std) in [
        ("normalize.mean", "normalize.std"),
        ("module.normalizer.new_mean", "module.normalizer.new_std"),
        ("0.means", "0.sds"),
        ("mu", "sigma"),
    ] {
        for shape in [&[][..], &[1], &[3], &[1, 3, 1, 1]] {
            let path = file(folder.path(), &[(mean, of(shape, 0.25)), (std, of(&[1], 0.5))]);
            let imported = import(&path, &settings()).unwrap();
            let arch = imported.checkpoint.meta.arch;
            assert_eq!((arch.mean, arch.std), (vec![0.25; 3], vec![0.5; 3]), "{mean} {shape:?}");
            assert_eq!(imported.dropped, [mean, std]);
        }
    }
}

#[test]
fn half_a_normalisation_is_refused_unless_the_flags_say_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let (mean, std) = (("0.mean", of(&[3], 0.25)), ("0.std", of(&[3], 0.5)));
    for (buffers, expected) in [
        (
            vec![mean.clone()],
            "keeps `0.mean` of a normalisation and not the other half, expected --std",
        ),
        (
            vec![std.clone()],
            "keeps `0.std` of a normalisation and not the other half, expected --mean",
        ),
        (vec![("0.mean", of(&[2], 0.0)), std.clone()], "has 2 values, expected 1 or 3"),
        (vec![mean.clone(), ("0.std", of(&[1, 1, 4], 1.0))], "has 4 values, expected 1 or 3"),
        (vec![mean.clone(), std.clone(), ("mu", of(&[1], 0.5))], "`0.mean` and `mu` of"),
    ] {
        let path = file(folder.path(), &buffers);
        let message = import(&path, &settings()).unwrap_err().to_string();
        assert!(message.contains(expected) && !message.contains('\n'), "{message}");
        let given = Settings { mean: Some(vec![0.1; 3]), std: Some(vec![0.2; 3]), ..settings() };
        let arch = import(&path, &given).unwrap().checkpoint.meta.arch;
        assert_eq!((arch.mean, arch.std), (vec![0.1; 3], vec![0.2; 3]));
    }
    // One of the two from the file, the other from a flag.
    let given = Settings { std: Some(vec![0.2; 3]), ..settings() };
    let arch = import(&file(folder.path(), &[mean]), &given).unwrap().checkpoint.meta.arch;
    assert_eq!((arch.mean, arch.std), (vec![0.25; 3], vec![0.2; 3]));
}

/// What the robustness library puts beside the network: its normalisation, and both once more in the
/// attacker.
fn attackers(network: &TensorMap) -> Vec<(String, ArrayD<f32>)> {
    let named = |(name, tensor): (&String, &ArrayD<f32>)| {
        (format!("module.attacker.model.{name}"), tensor.clone())
    };
    let mut all: Vec<_> = network.iter().map(named).collect();
    for owner in ["normalizer", "attacker.normalize"] {
        all.push((format!("module.{owner}.new_mean"), of(&[3, 1, 1], 0.25)));
        all.push((format!("module.{owner}.new_std"), of(&[3, 1, 1], 0.5)));
    }
    all
}

#[test]
fn the_network_that_is_kept_a_second_time_for_the_attacker_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let ours = init::initialise(&arch().build().unwrap(), 3);
    let mut beside = attackers(&ours);
    let write = |beside: &[(String, ArrayD<f32>)]| {
        let named = beside.iter().map(|(name, tensor)| (name.as_str(), tensor.clone()));
        file(folder.path(), &named.collect::<Vec<_>>())
    };
    let imported = import(&write(&beside), &settings()).unwrap();
    assert_eq!(imported.checkpoint.tensors, ours);
    assert_eq!((imported.applied, imported.dropped.len()), (ours.len(), ours.len() + 4));
    let arch = imported.checkpoint.meta.arch;
    assert_eq!((arch.mean, arch.std), (vec![0.25; 3], vec![0.5; 3]));
    // Another network is no twin.
    beside[0].1 += 1.0;
    let error = import(&write(&beside), &settings()).unwrap_err();
    assert!(matches!(error, ImportError::Collision { .. }), "{error}");
}
