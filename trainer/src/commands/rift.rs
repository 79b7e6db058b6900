//! `rift-trainer rift`: `mrc`, `finetune` and `interpolate`, and what came of it.

mod files;
mod print;
mod seeds;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use rift_models::artifact::{Digest, MrcReport, MrcRow, atomic, read_json};
use rift_models::dataset::{Dataset, Split};
use rift_models::threat::AttackSpec;
use serde_json::json;

use super::finetune::{PickArgs, TrainingArgs};
use super::interpolate::WayArgs;
use super::mrc::AscentArgs;
use super::output::also_json;
use super::places::Places;
use super::source::{Images, Source, ThreatArgs};
use super::tuning::{Corrupted, Search, TestArgs, Tuned, Tuning, diverged_in};
use super::{finetune, interpolate, mrc};
use crate::cli::{DataArgs, MachineArgs, PrecisionArgs};
use crate::network::Network;
use crate::record::Progress;
use crate::stage::Exam;
use crate::stage::finetune::{FinetuneSettings, Scope};
use crate::stage::rift::{Candidate, Comparison, Diverged, RiftReport, choose, page};

use print::{print, print_candidates};

/// Arguments of `rift`. A module is chosen on training images, epoch and α on validation images;
/// the test images are looked at once, at the end.
#[derive(Debug, Args)]
pub struct RiftArgs {
    /// The robust checkpoint.
    #[arg(long, value_name = "FILE", env = "RIFT_CHECKPOINT")]
    checkpoint: PathBuf,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    threat: ThreatArgs,
    #[command(flatten)]
    test: TestArgs,
    /// Fine-tune this module instead of the least critical one; several, separated by commas or one
    /// flag each.
    #[arg(long, value_name = "NAME", value_delimiter = ',', conflicts_with_all = ["top", "rank"], env = "RIFT_MODULE")]
    module: Vec<String>,
    #[command(flatten)]
    pick: PickArgs,
    /// The training images on which criticality is measured.
    #[arg(long, value_name = "N", default_value_t = mrc::IMAGES, env = "RIFT_MRC_LIMIT", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    mrc_limit: usize,
    #[command(flatten)]
    ascent: AscentArgs,
    #[command(flatten)]
    training: TrainingArgs,
    /// Try several learning rates and epochs and keep the one whose chosen point has the best clean
    /// accuracy on the validation images; one that diverges is left out.
    #[arg(long, value_name = "LRxEPOCHS,…", num_args = 0..=1, default_missing_value = "0.001x10,0.003x10,0.01x10", conflicts_with_all = ["lr", "epochs"], env = "RIFT_SEARCH")]
    search: Option<Search>,
    #[command(flatten)]
    way: WayArgs,
    /// Images in a batch of criticality and evaluation; nothing depends on it but the criticality of
    /// `--ascent reference`.
    #[arg(long, default_value_t = 250, env = "RIFT_EVAL_BATCH_SIZE", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    eval_batch_size: usize,
    /// The seed of noise, order and augmentation.
    #[arg(long, default_value_t = 0, env = "RIFT_SEED")]
    seed: u64,
    /// All of it once for each of these seeds, in a folder of its own; a seed that is done is not
    /// done again.
    #[arg(
        long,
        value_name = "SEED,…",
        value_delimiter = ',',
        conflicts_with = "seed",
        env = "RIFT_SEEDS"
    )]
    seeds: Vec<u64>,
    /// The folder for `mrc.json`, `finetuned.safetensors`, `sweep.json`, `rift.safetensors`,
    /// `probe.safetensors`, `rift.json` and `rift.html`, and for the figures `mrc.svg` and `sweep.svg`.
    #[arg(long, value_name = "FOLDER", env = "RIFT_OUT")]
    out: PathBuf,
    /// Write the final report as JSON here, too.
    #[arg(long, value_name = "PATH", env = "RIFT_JSON")]
    json: Option<PathBuf>,
    #[command(flatten)]
    numbers: PrecisionArgs,
    #[command(flatten)]
    machine: MachineArgs,
}

/// Runs `rift`.
///
/// # Errors
/// If something cannot be read or written, or does not fit the checkpoint.
pub fn run(args: &RiftArgs) -> anyhow::Result<ExitCode> {
    seeds::check(&args.seeds)?;
    Places::new()
        .reads("--checkpoint", args.checkpoint.as_path())
        .reads("--data", args.data.data.as_path())
        .fills("--out", &args.out, files::all(args))
        .writes("--json", args.json.as_deref())
        .check()?;
    Dataset::in_two_parts(&args.data.data)?;
    let source = Source::read(&args.checkpoint, &args.machine, args.numbers)?;
    for name in &args.module {
        source.network.graph().module(name)?;
    }
    if args.module.is_empty() {
        args.pick.check(source.network.graph())?;
    }
    let input = source.meta.arch.input;
    args.training.settings(Scope::All, input, args.seed).check(input)?;
    args.way.settings(args.threat.spec(&source.meta, args.seed)?, args.eval_batch_size)?;
    // The test images are read first, so that their absence shows now and not in an hour.
    let sets = Sets::open(args, &source)?;
    if args.seeds.is_empty() {
        let report = Run::new(args, &source, args.seed)?.all(&sets, &args.out)?;
        also_json(Ok(()), args.json.as_deref(), &report)?;
    } else {
        seeds::run(args, &source, &sets)?;
    }
    writeln!(std::io::stdout(), "wrote {}", args.out.display())?;
    Ok(ExitCode::SUCCESS)
}

/// The images of all stages.
struct Sets {
    /// The first training images, for criticality.
    first: Dataset,
    train: Dataset,
    validation: Dataset,
    test: Dataset,
    corrupted: Option<Corrupted>,
}

impl Sets {
    fn open(args: &RiftArgs, source: &Source) -> anyhow::Result<Self> {
        let open = |split, limit| source.open(&args.data, split, limit);
        let limit = args.data.limit;
        let first = limit.unwrap_or(usize::MAX).min(args.mrc_limit);
        Ok(Self {
            test: open(Split::Test, limit)?,
            validation: open(Split::Validation, limit)?,
            first: open(Split::Train, Some(first))?,
            train: open(Split::Train, limit)?,
            corrupted: args.test.corrupted(
                (source, &args.data),
                args.seed,
                args.eval_batch_size,
            )?,
        })
    }
}

impl Sets {
    /// What the images are known by; the first training images are among all of them.
    fn digests(&self) -> [(&'static str, &Digest); 3] {
        let Self { train, validation, test, .. } = self;
        [("train", &train.digest), ("validation", &validation.digest), ("data", &test.digest)]
    }
}

/// What came of the ways of fine-tuning.
struct Tried {
    /// The chosen one.
    tuned: Tuned,
    candidates: Vec<Candidate>,
    diverged: Vec<Diverged>,
}

/// The three stages with one seed.
struct Run<'a> {
    args: &'a RiftArgs,
    source: &'a Source,
    seed: u64,
    threat: AttackSpec,
}

impl<'a> Run<'a> {
    fn new(args: &'a RiftArgs, source: &'a Source, seed: u64) -> anyhow::Result<Self> {
        Ok(Self { args, source, seed, threat: args.threat.spec(&source.meta, seed)? })
    }

    /// The report of an earlier run with the same settings, if there is one.
    fn done(&self, sets: &Sets, out: &Path) -> anyhow::Result<Option<RiftReport>> {
        let path = out.join(files::REPORT);
        if !path.exists() {
            return Ok(None);
        }
        let report: RiftReport = read_json(&path, "report of `rift`")?;
        let parents = &report.lineage.parents;
        let same = report.settings == self.settings()?
            && parents.get("checkpoint") == Some(&self.source.digest)
            && sets.digests().iter().all(|(role, digest)| parents.get(*role) == Some(digest));
        anyhow::ensure!(
            same,
            "`{}` was made with other settings or images, expected another `--out`",
            path.display()
        );
        Ok(Some(report))
    }

    /// All stages, their files and the report.
    fn all(&self, sets: &Sets, out: &Path) -> anyhow::Result<RiftReport> {
        let (criticality, mrc_digest) = self.criticality(&sets.first, out)?;
        mrc::print(&criticality)?;
        let report = self.tune(&criticality, &mrc_digest, sets, out)?;
        let shown = print(&report);
        atomic::write_json(&out.join(files::REPORT), &report)?;
        atomic::write(&out.join(files::PAGE), page(&report).as_bytes())?;
        shown?;
        Ok(report)
    }

    /// Measures criticality and writes `mrc.json`.
    fn criticality(&self, first: &Dataset, out: &Path) -> anyhow::Result<(MrcReport, Digest)> {
        let args = self.args;
        let images = self.source.images(first)?;
        let settings = args.ascent.settings(self.threat.clone(), args.eval_batch_size);
        let report = mrc::report(self.source, &images, settings, args.machine.quiet)?;
        let digest = mrc::write(&out.join(files::MRC), &report, self.source)?;
        Ok((report, digest))
    }

    /// The modules to fine-tune, the least critical first.
    fn picked<'r>(&self, criticality: &'r MrcReport) -> anyhow::Result<Vec<&'r MrcRow>> {
        if self.args.module.is_empty() {
            return self.args.pick.rows(criticality);
        }
        let rows = criticality.least(criticality.rows.len());
        Ok(rows.into_iter().filter(|row| self.args.module.contains(&row.module)).collect())
    }

    /// Fine-tunes, chooses α and reports on the test images.
    fn tune(
        &self,
        criticality: &MrcReport,
        mrc: &Digest,
        sets: &Sets,
        out: &Path,
    ) -> anyhow::Result<RiftReport> {
        let picked = self.picked(criticality)?;
        let module = (*picked.first().context("the network has no such module")?).clone();
        let scope = Scope::Modules(picked.iter().map(|row| row.module.clone()).collect());
        let train = self.source.images(&sets.train)?;
        let images = self.source.images(&sets.validation)?;
        let Tried { tuned, candidates, diverged } =
            self.candidates(&scope, mrc, [&train, &images], out)?;
        drop(train);
        let (network, digest) = tuned.write(out, self.source, &sets.validation)?;
        finetune::print(&tuned.finetuned, &tuned.settings)?;
        interpolate::print(&tuned.made.report)?;

        let test = self.source.images(&sets.test)?;
        let threat = self.args.test.spec(&self.threat);
        let sweep = &tuned.made.report;
        // At α = 0 the network after is the network before.
        let after = (sweep.chosen != 0.0).then_some(&network);
        let result = self.compare(after, &test, &threat, sets)?;
        let made = [("mrc", mrc), ("finetuned", &tuned.digest), ("rift", &digest)];
        let parents = [&made[..], &sets.digests()].concat();
        Ok(RiftReport {
            module,
            tuned: sweep.modules.clone(),
            modules: self.in_network_order(criticality),
            alpha: sweep.chosen,
            verdict: sweep.verdict(),
            points: sweep.points.clone(),
            tolerance: sweep.tolerance,
            candidates,
            diverged,
            split: test.split.to_string(),
            n: test.set.len(),
            threat,
            seed: self.seed,
            result,
            settings: self.settings()?,
            lineage: self.source.lineage("rift", &parents, json!({ "threat": self.threat })),
            checkpoint: digest,
        })
    }

    /// Holds a network, or else the start itself, against the start on the test images.
    fn compare(
        &self,
        after: Option<&Network>,
        test: &Images,
        threat: &AttackSpec,
        sets: &Sets,
    ) -> anyhow::Result<Comparison> {
        let survey = sets.corrupted.as_ref().map(|c| (&c.survey, &c.images));
        let batch = self.args.eval_batch_size;
        let exam = Exam { images: &test.set, threat, batch, survey };
        let count = 1 + usize::from(after.is_some());
        let progress = Progress::new("test", count * exam.len(), self.args.machine.quiet);
        let known = sets.corrupted.as_ref().and_then(|c| c.start.get()).cloned();
        let of_start = Exam { survey: exam.survey.filter(|_| known.is_none()), ..exam };
        let mut before = of_start.judge("before", &self.source.network, &progress)?;
        before.corrupted = before.corrupted.or(known);
        if let (Some(corrupted), Some(verdicts)) = (&sets.corrupted, &before.corrupted) {
            corrupted.start.get_or_init(|| verdicts.clone());
        }
        let after = after.map(|network| exam.judge("after", network, &progress)).transpose()?;
        Ok(Comparison::of([&before, after.as_ref().unwrap_or(&before)]))
    }

    /// Fine-tunes in every way that is to be tried; gives the best one and how each was judged.
    fn candidates(
        &self,
        scope: &Scope,
        mrc: &Digest,
        [train, validation]: [&Images; 2],
        out: &Path,
    ) -> anyhow::Result<Tried> {
        let (args, source) = (self.args, self.source);
        let way = args.way.settings(self.threat.clone(), args.eval_batch_size)?;
        let tuning = Tuning { source, train, validation, way, quiet: args.machine.quiet };
        let paper = args.training.settings(scope.clone(), source.meta.arch.input, self.seed);
        let Some(Search(pairs)) = &args.search else {
            let tuned = tuning.tune(paper, mrc, out)?;
            let candidates = tuned.candidate().map(|c| Candidate { chosen: true, ..c });
            let candidates = candidates.into_iter().collect();
            return Ok(Tried { tuned, candidates, diverged: Vec::new() });
        };
        let mut best: Option<Tuned> = None;
        let (mut candidates, mut diverged) = (Vec::with_capacity(pairs.len()), Vec::new());
        for (lr, epochs) in pairs.iter().copied() {
            let folder = out.join(files::of_candidate((lr, epochs)));
            let settings = FinetuneSettings { lr, epochs, ..paper.clone() };
            let tuned = match tuning.tune(settings, mrc, &folder) {
                Ok(tuned) => tuned,
                Err(error) => {
                    let epoch = diverged_in(error)?;
                    diverged.push(Diverged { lr, epochs, epoch });
                    continue;
                }
            };
            atomic::write_json(&folder.join(files::SWEEP), &tuned.made.report)?;
            candidates.extend(tuned.candidate());
            if choose(&candidates) == Some(candidates.len() - 1) {
                best = Some(tuned);
            }
        }
        if let Some(place) = choose(&candidates) {
            candidates[place].chosen = true;
        }
        print_candidates(&candidates, &diverged)?;
        let tuned = best.context(
            "every way of fine-tuning diverged, expected `--search` with a smaller learning rate",
        )?;
        Ok(Tried { tuned, candidates, diverged })
    }

    /// The rows as the network runs.
    fn in_network_order(&self, criticality: &MrcReport) -> Vec<MrcRow> {
        let row = |name: &str| criticality.rows.iter().find(|row| row.module == name).cloned();
        self.source.network.graph().modules().filter_map(row).collect()
    }

    /// Every setting, as it is written into the report.
    fn settings(&self) -> anyhow::Result<serde_json::Value> {
        let args = self.args;
        let ascent = args.ascent.settings(self.threat.clone(), args.eval_batch_size);
        let way = args.way.settings(self.threat.clone(), args.eval_batch_size)?;
        let input = self.source.meta.arch.input;
        let training = args.training.settings(Scope::All, input, self.seed);
        let mut mrc = ascent.describe();
        mrc["images"] = json!(args.mrc_limit);
        let mut finetune = training.describe();
        if let (Some(_), Some(settings)) = (&args.search, finetune.as_object_mut()) {
            settings.retain(|name, _| name != "lr" && name != "epochs");
        }
        let settings = json!({
            "seed": self.seed,
            "limit": args.data.limit,
            "threat": self.threat,
            "precision": args.numbers.precision,
            "test": args.test.spec(&self.threat),
            "corruptions": args.test.describe_corruptions(args.seed),
            "mrc": mrc,
            "modules": if args.module.is_empty() {
                json!({ "top": args.pick.top, "rank": format!("{:?}", args.pick.rank).to_lowercase() })
            } else {
                json!(args.module)
            },
            "finetune": finetune,
            "search": args.search.as_ref().map(|search| &search.0),
            "interpolate": { "alphas": way.alphas.to_string(), "refine": way.refine, "tolerance": way.tolerance },
        });
        // As it reads once it was written: a number may lose its last bit on the way.
        Ok(serde_json::from_slice(&serde_json::to_vec(&settings)?)?)
    }
}
