//! Files that a command will write, found to be writable, and to be nothing that it reads, before the
//! work begins.

use std::path::{Path, PathBuf};

use anyhow::bail;
use rift_models::artifact::{Bundle, atomic, place};
use rift_models::dataset;

/// A file or folder, and what it is to the command.
pub(crate) type Named<'p> = (&'static str, &'p Path);

/// Fails now if an output could not be written later, or is an input or another output as well,
/// through whatever links.
pub(crate) fn check(outputs: &[Named<'_>], inputs: &[Named<'_>]) -> anyhow::Result<()> {
    let inputs: Vec<(&str, PathBuf)> = inputs
        .iter()
        .filter(|(_, path)| path.exists())
        .map(|(name, path)| (*name, place::resolve(path)))
        .collect();
    let mut before: Vec<(&str, PathBuf)> = Vec::new();
    for (flag, path) in outputs {
        atomic::check_writable(path)?;
        // Devices and pipes lose nothing by being written, however often.
        if path.exists() && !path.is_file() {
            continue;
        }
        let (place, shown) = (place::resolve(path), path.display());
        if let Some((input, _)) = inputs.iter().find(|(_, input)| would_harm(input, &place)) {
            bail!("`{flag}` would overwrite {input}: `{shown}`, expected a file of its own");
        }
        if let Some((other, _)) = before.iter().find(|(_, other)| *other == place) {
            bail!("`{other}` and `{flag}` are one file: `{shown}`, expected one each");
        }
        before.push((flag, place));
    }
    Ok(())
}

/// Whether writing `output` would take something from `input`, both without links.
fn would_harm(input: &Path, output: &Path) -> bool {
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if input.is_dir() {
        let is_of_bundle = Bundle::FILES.contains(&&*name(output));
        let is_read = is_of_bundle || dataset::may_be_read(output);
        output.starts_with(input) && output.exists() && is_read
    } else {
        // A model's weights may lie beside it, as `m.onnx.data`.
        let [model, file] = [input, output].map(name);
        let is_beside = output.parent() == input.parent() && file.starts_with(&model);
        output == input || is_beside && output.exists() && file.ends_with("data")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn an_output_is_neither_an_input_nor_another_output() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let (model, data, bundle) = (path("m.onnx"), path("d.npz"), path("bundle"));
        fs::create_dir(&bundle).unwrap();
        for file in [
            &model,
            &path("m.onnx.data"),
            &data,
            &bundle.join("card.json"),
            &bundle.join("audit.json"),
        ] {
            fs::write(file, b"x").unwrap();
        }
        fs::write(bundle.join("photo.png"), b"x").unwrap();
        let verdict = |outputs: &[Named<'_>]| {
            let inputs = [("the model", &*model), ("the data", &*data), ("the bundle", &*bundle)];
            check(outputs, &inputs).map_err(|error| error.to_string())
        };
        let (json, html) = (path("new/a.json"), path("a.html"));
        verdict(&[("--json", &json), ("--html", &html)]).unwrap();
        let device = Path::new("/dev/null");
        verdict(&[("--json", device), ("--html", device)]).unwrap();
        for (output, part) in [
            (model.clone(), "`--json` would overwrite the model: `"),
            (path("m.onnx.data"), "the model"),
            (path("new/../d.npz"), "the data"),
            (bundle.join("card.json"), "the bundle"),
            (bundle.join("photo.png"), "the bundle"),
        ] {
            let message = verdict(&[("--html", &html), ("--json", &output)]).unwrap_err();
            assert!(message.contains(part), "{message}");
        }
        // Beside what a bundle is made of, a report is at home in it, the second time too.
        for name in ["audit.json", "other.json"] {
            verdict(&[("--json", &bundle.join(name))]).unwrap();
        }
        let message = verdict(&[("--json", &json), ("--html", &path("new/a.json"))]).unwrap_err();
        assert!(message.starts_with("`--json` and `--html` are one file: `"), "{message}");
    }

    #[test]
    #[cfg(unix)]
    fn a_link_is_what_it_leads_to() {
        let folder = tempfile::tempdir().unwrap();
        let [model, link, there] = ["m.onnx", "a.json", "there"].map(|n| folder.path().join(n));
        fs::write(&model, b"x").unwrap();
        std::os::unix::fs::symlink(&model, &link).unwrap();
        std::os::unix::fs::symlink(folder.path(), &there).unwrap();
        for output in [&link, &there.join("m.onnx")] {
            let message = check(&[("--json", output)], &[("the model", &model)]).unwrap_err();
            assert!(message.to_string().contains("would overwrite the model"), "{message}");
            check(&[("--json", &model)], &[("the model", output)]).unwrap_err();
        }
        let (first, second) = (folder.path().join("b.json"), there.join("b.json"));
        check(&[("--json", &first), ("--html", &second)], &[]).unwrap_err();
    }
}
