//! What a run of `rift` writes into its folder.

use std::path::PathBuf;

use super::RiftArgs;
use crate::commands::interpolate;
use crate::commands::tuning::{FINETUNED, Search};
use crate::record::figures;

pub(super) const MRC: &str = "mrc.json";
pub(super) const SWEEP: &str = "sweep.json";
pub(super) const REPORT: &str = "rift.json";
pub(super) const PAGE: &str = "rift.html";
pub(super) const SEEDS: &str = "seeds.json";

/// The folder of a seed among several.
pub(super) fn of_seed(seed: u64) -> PathBuf {
    format!("seed-{seed}").into()
}

/// The folder of a way of fine-tuning among several.
pub(super) fn of_candidate((lr, epochs): (f64, usize)) -> PathBuf {
    PathBuf::from("candidates").join(format!("lr-{lr}-epochs-{epochs}"))
}

/// All files, within the folder.
pub(super) fn all(args: &RiftArgs) -> Vec<PathBuf> {
    if args.seeds.is_empty() {
        return of_one(args.search.as_ref());
    }
    let runs = args.seeds.iter().flat_map(|seed| {
        let folder = of_seed(*seed);
        of_one(args.search.as_ref()).into_iter().map(move |file| folder.join(file))
    });
    runs.chain([SEEDS, PAGE].map(PathBuf::from)).collect()
}

/// The files of a run with one seed.
fn of_one(search: Option<&Search>) -> Vec<PathBuf> {
    let own = [MRC, figures::MRC, FINETUNED, REPORT, PAGE];
    let own = own.into_iter().chain(interpolate::FILES).map(PathBuf::from);
    let pairs = search.map_or(&[][..], |search| &search.0);
    let tried = pairs.iter().flat_map(|pair| {
        let folder = of_candidate(*pair);
        [FINETUNED, SWEEP].map(|file| folder.join(file))
    });
    own.chain(tried).collect()
}
