//! `rift-trainer import`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use serde_json::json;

use super::output::also_json;
use super::places::Places;
use super::source::made_by;
use crate::import::{Imported, Settings, import};

/// Arguments of `import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// The weights: a `.pth` file of PyTorch 1.6 or later, or a `.safetensors` file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The architecture: resnet8, resnet20, resnet32, resnet18, resnet34, preactresnet18,
    /// preactresnet18-fast-at, wrn28-10 or wrn34-10.
    #[arg(long, env = "RIFT_ARCH")]
    arch: String,
    /// Channels, height and width of an image, which the weights do not tell.
    #[arg(long, value_name = "CxHxW", default_value = "3x32x32", env = "RIFT_INPUT", value_parser = input)]
    input: [usize; 3],
    /// Channels of the first stage, where the architecture lets them be chosen.
    #[arg(long, env = "RIFT_WIDTH")]
    width: Option<usize>,
    /// The names of the classes, in order; by default they are numbered.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', env = "RIFT_CLASSES")]
    classes: Option<Vec<String>>,
    /// The number of classes, to be held against the last layer, which tells it too.
    #[arg(long, value_name = "N", conflicts_with = "classes", env = "RIFT_NUM_CLASSES")]
    num_classes: Option<usize>,
    /// The channel means that the network subtracts from its pixels; by default those that the file
    /// keeps as a buffer, else 0.
    #[arg(long, value_name = "M,…", value_delimiter = ',', env = "RIFT_MEAN")]
    mean: Option<Vec<f32>>,
    /// The channel standard deviations that it divides by; by default those that the file keeps as
    /// a buffer, else 1.
    #[arg(long, value_name = "S,…", value_delimiter = ',', env = "RIFT_STD")]
    std: Option<Vec<f32>>,
    /// The checkpoint to write.
    #[arg(long, value_name = "FILE", env = "RIFT_OUT")]
    out: PathBuf,
    /// Write what became of the file's tensors as JSON.
    #[arg(long, value_name = "PATH", env = "RIFT_JSON")]
    json: Option<PathBuf>,
}

fn input(text: &str) -> Result<[usize; 3], String> {
    let sides: Result<Vec<usize>, _> = text.split('x').map(str::parse).collect();
    sides
        .ok()
        .and_then(|sides| <[usize; 3]>::try_from(sides).ok())
        .ok_or_else(|| "expected channels, height and width, such as `3x32x32`".to_owned())
}

/// Runs `import`.
///
/// # Errors
/// If the file cannot be read safely or is not of the architecture.
pub fn run(args: &ImportArgs) -> anyhow::Result<ExitCode> {
    Places::new()
        .reads("FILE", args.file.as_path())
        .writes("--out", args.out.as_path())
        .writes("--json", args.json.as_deref())
        .check()?;
    let numbered = |n: usize| (0..n).map(|class| class.to_string()).collect();
    let settings = Settings {
        arch: args.arch.clone(),
        input: args.input,
        width: args.width,
        classes: args.classes.clone().or(args.num_classes.map(numbered)),
        mean: args.mean.clone(),
        std: args.std.clone(),
        made_by: made_by("import"),
    };
    let imported = import(&args.file, &settings)?;
    let digest = imported.checkpoint.write(&args.out).context("nothing was imported")?;
    let Imported { checkpoint, applied, renamed, dropped } = &imported;
    let report = json!({
        "applied": applied, "renamed": renamed, "dropped": dropped, "checkpoint": digest,
        "arch": checkpoint.meta.arch, "classes": checkpoint.meta.classes,
        "lineage": checkpoint.meta.lineage,
    });
    also_json(print(&imported, args), args.json.as_deref(), &report)?;
    Ok(ExitCode::SUCCESS)
}

fn print(imported: &Imported, args: &ImportArgs) -> std::io::Result<()> {
    let arch = &imported.checkpoint.meta.arch;
    let mut out = std::io::stdout().lock();
    let [channels, height, width] = arch.input;
    writeln!(
        out,
        "{} for images of {channels}x{height}x{width} and {} classes",
        arch.name, arch.classes
    )?;
    writeln!(out, "applied       {} tensors", imported.applied)?;
    writeln!(out, "renamed       {} of them, by taking a prefix off", imported.renamed)?;
    writeln!(out, "dropped       {} entries of no use{}", imported.dropped.len(), some(imported))?;
    let neutral = arch.mean.iter().all(|m| *m == 0.0) && arch.std.iter().all(|s| *s == 1.0);
    let hint = if neutral {
        " (none: say `--mean` and `--std` if the network was trained with one)"
    } else {
        ""
    };
    writeln!(out, "normalisation mean {:?}, std {:?}{hint}", arch.mean, arch.std)?;
    writeln!(out, "wrote         {}", args.out.display())
}

/// The first names that were dropped.
fn some(imported: &Imported) -> String {
    let dropped = &imported.dropped;
    match dropped.len() {
        0 => String::new(),
        n => format!(": {}{}", dropped[..n.min(3)].join(", "), if n > 3 { ", …" } else { "" }),
    }
}
