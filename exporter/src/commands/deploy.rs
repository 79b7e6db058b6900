//! `rift-exporter deploy`.

use std::fmt::Write;

use anyhow::ensure;
use rift_models::artifact::{Bundle, archive};

use super::{Answer, output};
use crate::bundle::evidence;
use crate::cli::Deploy;
use crate::layout::{kserve, triton};
use crate::verify::engine::threads;

/// Writes each layout that is asked for.
pub(super) fn run(settings: &Deploy, wanted_threads: Option<usize>) -> anyhow::Result<Answer> {
    ensure!(
        settings.triton.is_some() || settings.kserve.is_some() || settings.archive.is_some(),
        "no layout is asked for, expected one or more of `--triton`, `--kserve`, `--archive`"
    );
    if let Some(path) = &settings.archive {
        ensure!(
            path.to_string_lossy().ends_with(archive::SUFFIX),
            "the archive `{}` does not end in `{}`, by which it is known",
            path.display(),
            archive::SUFFIX
        );
    }
    let bundle = Bundle::open(&settings.bundle)?;
    evidence::ensure(&bundle, &settings.bundle)?;
    let folders = [("--triton", &settings.triton), ("--kserve", &settings.kserve)];
    for (flag, out) in folders.into_iter().chain([("--archive", &settings.archive)]) {
        if let Some(out) = out {
            output::ensure_outside(flag, out, &settings.bundle)?;
        }
    }
    write(settings, &bundle, threads(wanted_threads))
}

/// Writes each layout, once all are ready to be written.
fn write(settings: &Deploy, bundle: &Bundle, threads: usize) -> anyhow::Result<Answer> {
    let Deploy { max_batch, queue_delay, .. } = *settings;
    let service = triton::Service { max_batch, queue_delay, threads };
    let sources = kserve::Sources {
        bundle: &settings.storage_uri,
        repository: &settings.repository_uri,
        image: &settings.image,
    };
    let repository = settings.triton.as_deref();
    let repository =
        repository.map(|folder| triton::Entry::new(bundle, folder, service)).transpose()?;
    let manifests = settings.kserve.as_deref();
    let manifests =
        manifests.map(|folder| kserve::Manifests::new(bundle, folder, sources)).transpose()?;
    let archive = settings.archive.as_deref();
    let archive = archive.map(|path| archive::Packed::new(&bundle.path, path)).transpose()?;
    let mut text = String::new();
    if let Some(entry) = repository {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "triton   {}", entry.write()?.display());
    }
    if let Some(manifests) = manifests {
        for path in manifests.write()? {
            let _ = writeln!(text, "kserve   {}", path.display());
        }
    }
    if let (Some(packed), Some(path)) = (archive, &settings.archive) {
        let digest = packed.write()?;
        let _ = writeln!(text, "archive  {}, sha256 {}", path.display(), digest.short());
    }
    Ok(Answer::Yes(text))
}
