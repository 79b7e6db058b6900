//! Where paths lead, also those of files that are not there yet.

use std::path::{Component, Path, PathBuf};

/// The place that `path` leads to: links are followed and `..` goes up as far as there is something
/// on the disk; the rest is as it is written.
pub fn resolve(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut place = PathBuf::new();
    for part in absolute.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                place.pop();
            }
            part => {
                place.push(part);
                place = place.canonicalize().unwrap_or(place);
            }
        }
    }
    place
}

/// Whether both paths lead to the same place.
pub fn is_same(one: &Path, other: &Path) -> bool {
    resolve(one) == resolve(other)
}

/// Whether `path` leads to `folder` or to something below it.
pub fn is_within(path: &Path, folder: &Path) -> bool {
    resolve(path).starts_with(resolve(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leads_to_the_same_however_it_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir(path("b")).unwrap();
        for other in ["b/", "./b", "absent/../b", "b/../b", "b/absent/.."] {
            assert!(is_same(&path("b"), &path(other)), "{other}");
        }
        assert!(is_within(&path("absent/../b/deep/new"), &path("b")));
        assert!(is_within(&path("b"), &path("b")));
        assert!(!is_within(&path("b2"), &path("b")) && !is_within(folder.path(), &path("b")));
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("b", path("link")).unwrap();
            assert!(is_within(&path("link/new"), &path("b")));
            // As the system goes up: from where the link leads.
            std::fs::create_dir(path("b/c")).unwrap();
            std::os::unix::fs::symlink("b/c", path("down")).unwrap();
            assert!(is_same(&path("down/.."), &path("b")));
        }
    }
}
