use super::*;

/// A file that TensorBoard's own writer wrote; `tests/peers/tensorboard_events.py --golden` made it.
const GOLDEN: &[u8] = include_bytes!("golden.tfevents");

const FRESH: Cut = Cut { step: 0, unjudged: false };

fn at(step: usize) -> Cut {
    Cut { step, unjudged: false }
}

fn steps(folder: &Path) -> Vec<usize> {
    read(folder).unwrap().into_iter().map(|(step, ..)| step).collect()
}

#[test]
fn the_records_are_those_of_tensorboards_writer() {
    let events: Vec<_> =
        frame::read(GOLDEN).into_iter().map(|payload| Event::decode(payload).unwrap()).collect();
    let [version, scalar, zero, start] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!(version.what, Some(What::FileVersion(VERSION.to_owned())));
    let value = |tag: &str, value| Value { tag: tag.to_owned(), simple_value: Some(value) };
    let summary = |value| Some(What::Summary(Summary { value: vec![value] }));
    assert_eq!((scalar.step, &scalar.what), (16, &summary(value("train/loss", 2.5))));
    assert_eq!((zero.step, &zero.what), (17, &summary(value("train/loss", 0.0))));
    let log = SessionLog { status: Status::Start.into() };
    assert_eq!((start.step, &start.what), (18, &Some(What::SessionLog(log))));
    // Written again, they are the same bytes.
    let mut again = Vec::new();
    for event in &events {
        frame::write(&event.encode_to_vec(), &mut again);
    }
    assert_eq!(again, GOLDEN);
}

#[test]
fn a_resumed_run_says_each_step_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = EventLog::open(folder.path(), FRESH).unwrap();
    for step in 1..=5 {
        log.scalars(step, &[("train/loss", step as f64)]);
    }
    log.flush().unwrap();
    // The state is of step 3, and the last record is torn.
    let first = files(folder.path()).remove(0);
    let bytes = std::fs::read(&first).unwrap();
    std::fs::write(&first, &bytes[..bytes.len() - 3]).unwrap();
    let mut log = EventLog::open(folder.path(), at(3)).unwrap();
    assert_eq!(steps(folder.path()), [1, 2, 3]);
    for step in 4..=6 {
        log.scalars(step, &[("train/loss", step as f64)]);
        log.flush().unwrap();
    }
    assert_eq!(steps(folder.path()), [1, 2, 3, 4, 5, 6]);
    let names = files(folder.path());
    assert_eq!(names.len(), 2);
    let second = std::fs::read(&names[1]).unwrap();
    let start = Event::decode(frame::read(&second)[1]).unwrap();
    assert_eq!(start.step, 4, "a reader that knows steps 4 and 5 forgets them");
    // A training that starts anew in the folder has said nothing yet.
    EventLog::open(folder.path(), FRESH).unwrap();
    assert!(files(folder.path()).is_empty());
}

#[test]
fn an_epoch_that_was_not_judged_is_not_recorded_as_judged() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = EventLog::open(folder.path(), FRESH).unwrap();
    log.scalars(16, &[("train/loss", 1.0)]);
    log.scalars(16, &[("epoch/train_loss", 1.0)]);
    log.flush().unwrap();
    EventLog::open(folder.path(), at(16)).unwrap();
    assert_eq!(steps(folder.path()).len(), 2);
    EventLog::open(folder.path(), Cut { step: 16, unjudged: true }).unwrap();
    let tags: Vec<_> = read(folder.path()).unwrap().into_iter().map(|(_, tag, _)| tag).collect();
    assert_eq!(tags, ["train/loss"]);
}

#[test]
fn what_found_no_room_is_written_later_and_whole() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = EventLog::open(folder.path(), FRESH).unwrap();
    log.scalars(1, &[("a", 1.0)]);
    std::fs::create_dir(&log.path).unwrap();
    assert!(log.flush().is_err());
    log.scalars(2, &[("a", 2.0)]);
    std::fs::remove_dir(&log.path).unwrap();
    log.flush().unwrap();
    // What an attempt that failed half-way leaves is overwritten.
    OpenOptions::new().append(true).open(&log.path).unwrap().write_all(b"half").unwrap();
    log.scalars(3, &[("a", 3.0)]);
    log.flush().unwrap();
    assert_eq!(steps(folder.path()), [1, 2, 3]);
}

#[test]
fn files_of_other_programs_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let theirs = folder.path().join("events.out.tfevents.1700000000.host.1.0");
    std::fs::write(&theirs, GOLDEN).unwrap();
    EventLog::open(folder.path(), FRESH).unwrap();
    assert_eq!(std::fs::read(&theirs).unwrap(), GOLDEN);
}
