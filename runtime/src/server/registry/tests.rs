//! What is served while models are opened, refused, unloaded and taken away.

use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;
use crate::server::Watching;
use crate::small_models::{conv_net, linear_net};

/// Lets in what has convolutions.
struct Convolutions;

impl Condition for Convolutions {
    fn check(&self, _: &Source, classifier: &Classifier) -> Result<(), Refused> {
        let graph = classifier.model().proto().graph.as_ref().unwrap();
        let has = graph.node.iter().any(|node| node.op_type() == "Conv");
        if has { Ok(()) } else { Err(Refused::Condition("it has no convolutions".to_owned())) }
    }
}

fn registry() -> Registry {
    let watching = Watching::default();
    let serving = Serving { threads: 1, batch: 2, together: 1, queue: 4, watching };
    Registry::new(serving, Opening::default())
}

#[test]
fn a_model_that_meets_no_condition_leaves_the_old_one_served() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    conv_net(None).write(&path).unwrap();
    let registry = registry().with_condition(Box::new(Convolutions));
    let source = Source { name: "m".to_owned(), version: 3, path: path.clone() };
    registry.announce(&source);
    assert!(registry.is_ready().unwrap_err().contains("being loaded"));
    let old = registry.load(&source).unwrap();
    assert_eq!((registry.is_ready(), registry.ready_versions("m")), (Ok(()), vec![3]));
    linear_net().write(&path).unwrap();
    assert!(registry.reload("m").unwrap_err().to_string().contains("no convolutions"));
    assert!(Arc::ptr_eq(&registry.find("m", None).unwrap(), &old));
    // Where there is no old one, there is none to serve.
    let other = Source { name: "other".to_owned(), ..source };
    assert!(registry.load(&other).is_err());
    assert!(registry.find("other", Some("3")).unwrap_err().to_string().contains("no convolu"));
    assert!(registry.is_ready().unwrap_err().contains("`other` is not served"));
    registry.forget("other", 3);
    assert_eq!(registry.is_ready(), Ok(()));
    registry.close();
}

/// Says when a model is being opened, and waits until it may go on.
struct Waiting {
    begun: Sender<()>,
    go_on: Mutex<Receiver<()>>,
}

impl Condition for Waiting {
    fn check(&self, _: &Source, _: &Classifier) -> Result<(), Refused> {
        self.begun.send(()).unwrap();
        self.go_on.lock().unwrap().recv().unwrap();
        Ok(())
    }
}

#[test]
fn what_is_unloaded_while_it_is_opened_is_not_served() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    conv_net(None).write(&path).unwrap();
    let ((begun, has_begun), (go, go_on)) = (channel(), channel());
    let registry = registry().with_condition(Box::new(Waiting { begun, go_on: Mutex::new(go_on) }));
    let source = Source { name: "m".to_owned(), version: 1, path };
    let meanwhile = |what: &dyn Fn()| {
        std::thread::scope(|scope| {
            let loading = scope.spawn(|| registry.load(&source));
            has_begun.recv().unwrap();
            what();
            go.send(()).unwrap();
            loading.join().unwrap()
        })
    };
    let unload = || registry.unload("m").unwrap();
    assert!(matches!(meanwhile(&unload), Err(Refused::Withdrawn(_))));
    assert!(registry.find("m", None).unwrap_err().to_string().contains("it is unloaded"));
    assert!(meanwhile(&|| ()).is_ok(), "it may be asked for again");
    assert!(matches!(meanwhile(&unload), Err(Refused::Withdrawn(_))));
    assert_eq!(registry.ready_versions("m"), [0; 0]);
    assert!(matches!(meanwhile(&|| registry.forget("m", 1)), Err(Refused::Withdrawn(_))));
    assert!(registry.index().is_empty());
    // What was announced, too, and without being opened.
    let wish = registry.announce(&source);
    unload();
    assert!(matches!(registry.fulfil(&source, wish), Err(Refused::Withdrawn(_))));
    assert!(has_begun.try_recv().is_err());
    registry.close();
}
