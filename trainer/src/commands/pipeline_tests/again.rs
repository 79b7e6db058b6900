//! What is not done again, and what is no longer what it was.

use super::refusals::archive;
use super::*;

#[test]
fn a_seed_is_done_again_only_on_the_images_that_it_was_done_on() {
    let folder = tempfile::tempdir().unwrap();
    let at = checkpoint(folder.path());
    let [out, data] = ["out", "data"].map(|name| folder.path().join(name));
    std::fs::create_dir(&data).unwrap();
    archive(&data.join("test.npz"), Split::Test, 0..60);
    archive(&data.join("train.npz"), Split::Train, 0..60);
    let paths = [("--checkpoint", at.as_path()), ("--data", &data), ("--out", &out)];
    let arguments = [&["rift"][..], &SHORT[2..], &["--epochs", "1", "--seeds", "3"]].concat();
    run(&arguments, &paths).unwrap();
    run(&arguments, &paths).unwrap();
    archive(&data.join("train.npz"), Split::Train, 20..80);
    let error = run(&arguments, &paths).unwrap_err();
    assert!(error.contains("was made with other settings or images"), "{error}");
}

#[test]
fn the_reference_ascent_is_known_by_its_batch_size() {
    let folder = tempfile::tempdir().unwrap();
    let at = checkpoint(folder.path());
    let out = folder.path().join("out");
    let paths = [("--checkpoint", at.as_path()), ("--out", &out)];
    for (ascent, refused) in [("normalized", false), ("reference", true)] {
        let _ = std::fs::remove_dir_all(&out);
        let flags = ["--epochs", "1", "--rows", "statistics", "--ascent", ascent];
        let ablate = [&["ablate"][..], &SHORT, &flags, &["--eval-batch-size"]].concat();
        run(&[&ablate[..], &["30"]].concat(), &paths).unwrap();
        let again = run(&[&ablate[..], &["15"]].concat(), &paths);
        assert_eq!(again.is_err(), refused, "{ascent}: {again:?}");
        if let Err(error) = again {
            assert!(error.contains("mrc.json` was made with other settings"), "{error}");
        }
    }
    let mrc = folder.path().join("mrc.json");
    let flags = ["--limit", "30", "--steps", "1", "--ascent-steps", "1", "--batch-size", "30"];
    let arguments = [&["mrc", "--data", DATA, "--halves"][..], &flags].concat();
    run(&arguments, &[("--checkpoint", &at), ("--out", &mrc)]).unwrap();
    let report: MrcReport = read_json(&mrc, "report").unwrap();
    assert_eq!(report.lineage.settings["batch_size"], 30);
}
