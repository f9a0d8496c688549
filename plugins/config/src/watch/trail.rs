//! The links on the way to a file.

use std::{
    ffi::OsString,
    fs,
    path::{Component, Path, PathBuf},
};

/// As many links as Linux follows.
const MOST_LINKS: usize = 40;

/// Every path whose replacement changes what is read at `path`: each link on the way, and the file
/// at its end, each without a link before its last name.
///
/// `path` is absolute. What does not exist (yet) is followed as far as it goes.
pub(super) fn of(path: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut links = 0;
    let mut rest: Vec<OsString> = names(path);
    let mut at = PathBuf::from("/");
    while let Some(name) = rest.pop() {
        if name == ".." {
            at.pop();
            continue;
        }
        at.push(&name);
        if let Ok(target) = fs::read_link(&at) {
            found.push(at.clone());
            links += 1;
            if links > MOST_LINKS {
                return found;
            }
            at.pop();
            if target.is_absolute() {
                at = PathBuf::from("/");
            }
            rest.extend(names(&target));
        }
    }
    found.push(at);
    found
}

/// The names of a path, the last one first.
fn names(path: &Path) -> Vec<OsString> {
    let name = |component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
    };
    path.components().rev().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_link_on_the_way_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(folder.path()).unwrap();
        fs::create_dir(root.join("..2026")).unwrap();
        fs::write(root.join("..2026/a.yaml"), "").unwrap();
        symlink("..2026", root.join("..data")).unwrap();
        symlink("..data/a.yaml", root.join("a.yaml")).unwrap();
        let found = of(&root.join("a.yaml"));
        assert_eq!(found, [root.join("a.yaml"), root.join("..data"), root.join("..2026/a.yaml")]);
    }

    #[test]
    fn a_circle_ends() {
        let folder = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(folder.path()).unwrap();
        symlink("b", root.join("a")).unwrap();
        symlink("a", root.join("b")).unwrap();
        assert!(of(&root.join("a")).len() <= MOST_LINKS + 1);
    }

    #[test]
    fn what_does_not_exist_leads_to_where_it_would_be() {
        let path = Path::new("/nowhere/at/../all.yaml");
        assert_eq!(of(path), [PathBuf::from("/nowhere/all.yaml")]);
    }
}
