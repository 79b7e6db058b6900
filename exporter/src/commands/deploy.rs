//! `rift-exporter deploy`.

use std::fmt::Write;

use anyhow::ensure;
use rift_models::artifact::{Bundle, archive};

use super::Answer;
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
    let mut text = String::new();
    if let Some(folder) = &settings.triton {
        let service = triton::Service {
            max_batch: settings.max_batch,
            queue_delay: settings.queue_delay,
            threads: threads(wanted_threads),
        };
        let name = triton::write(&bundle, folder, service)?;
        // Writing to a string cannot fail.
        let _ = writeln!(text, "triton   {}", folder.join(name).display());
    }
    if let Some(folder) = &settings.kserve {
        let sources = kserve::Sources {
            bundle: &settings.storage_uri,
            repository: &settings.repository_uri,
            image: &settings.image,
        };
        kserve::write(&bundle, folder, sources)?;
        for file in [kserve::RIFT, kserve::TRITON] {
            let _ = writeln!(text, "kserve   {}", folder.join(file).display());
        }
    }
    if let Some(path) = &settings.archive {
        let digest = archive::pack(&bundle.path, path)?;
        let _ = writeln!(text, "archive  {}, sha256 {}", path.display(), digest.short());
    }
    Ok(Answer::Yes(text))
}
