use std::{fs, os::unix::fs::symlink, path::Path, sync::mpsc::TrySendError};

use tempfile::TempDir;
use tokio::time::timeout;

use super::*;
use crate::{LoadAttempt, Plugins, attempt};

/// Long enough for a machine under load; a test that passes does not wait for it.
const SOON: Duration = Duration::from_secs(60);

/// No poll within a test, so that it is the notices that are tested.
const NOTICES: WatchTiming = WatchTiming {
    settle: Duration::from_millis(20),
    longest: Duration::from_millis(200),
    poll: Duration::from_secs(3600),
};

const GATEWAY: &str = "receiver: { url: \"http://127.0.0.1:10080\" }\n";

fn rule(name: &str) -> String {
    format!("webhooks:\n- {{ name: {name}, partner: {name}, url: \"http://127.0.0.1/\" }}\n")
}

fn load(root: &Path) -> LoadAttempt {
    attempt(&root.join("as2hook.yaml"), &Plugins::default())
}

fn names(attempt: &LoadAttempt) -> Vec<String> {
    let loaded = attempt.outcome.as_ref().unwrap();
    loaded.rules.iter().map(|rule| rule.name.clone()).collect()
}

/// Waits for a change, loads again, and watches what was loaded.
async fn reload(watch: &mut Watch, root: &Path) -> LoadAttempt {
    timeout(SOON, watch.changed()).await.expect("a change is noticed").expect("the watch goes on");
    let attempt = load(root);
    watch.rewatch(attempt.sources.clone());
    attempt
}

/// Reloads until these are the rules: a file that is written in two steps may be seen in between.
async fn expect_rules(watch: &mut Watch, root: &Path, expected: &[&str]) {
    loop {
        let attempt = reload(watch, root).await;
        if attempt.outcome.is_ok() && names(&attempt) == expected {
            return;
        }
    }
}

fn set_up(webhooks: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let root = fs::canonicalize(folder.path()).unwrap();
    fs::write(root.join("as2hook.yaml"), format!("{GATEWAY}webhooks: {webhooks}\n")).unwrap();
    (folder, root)
}

fn start(root: &Path, pace: WatchTiming) -> Watch {
    Watch::start(load(root).sources, pace).unwrap()
}

#[tokio::test]
async fn an_edit_is_noticed() {
    let (_folder, root) = set_up("webhooks.yaml");
    fs::write(root.join("webhooks.yaml"), rule("one")).unwrap();
    let mut watch = start(&root, NOTICES);
    fs::write(root.join("webhooks.yaml"), rule("two")).unwrap();
    expect_rules(&mut watch, &root, &["two"]).await;
    fs::write(root.join("webhooks.yaml"), rule("three")).unwrap();
    expect_rules(&mut watch, &root, &["three"]).await;
}

#[tokio::test]
async fn a_file_replaced_by_rename_is_noticed_each_time() {
    let (_folder, root) = set_up("webhooks.yaml");
    fs::write(root.join("webhooks.yaml"), rule("one")).unwrap();
    let mut watch = start(&root, NOTICES);
    for name in ["two", "three", "four"] {
        fs::write(root.join(".webhooks.yaml.new"), rule(name)).unwrap();
        fs::rename(root.join(".webhooks.yaml.new"), root.join("webhooks.yaml")).unwrap();
        expect_rules(&mut watch, &root, &[name]).await;
    }
}

#[tokio::test]
async fn a_swapped_link_is_noticed_each_time() {
    let (_folder, root) = set_up("rules/webhooks.yaml");
    let rules = root.join("rules");
    let swap = |version: &str| {
        fs::create_dir_all(rules.join(version)).unwrap();
        fs::write(rules.join(version).join("webhooks.yaml"), rule(version)).unwrap();
        symlink(version, rules.join("..data_tmp")).unwrap();
        fs::rename(rules.join("..data_tmp"), rules.join("..data")).unwrap();
    };
    swap("one");
    symlink("..data/webhooks.yaml", rules.join("webhooks.yaml")).unwrap();
    let mut watch = start(&root, NOTICES);
    for version in ["two", "three"] {
        swap(version);
        expect_rules(&mut watch, &root, &[version]).await;
    }
}

#[tokio::test]
async fn files_that_come_and_go_in_a_folder_are_noticed() {
    let (_folder, root) = set_up("rules");
    let rules = root.join("rules");
    fs::create_dir(&rules).unwrap();
    fs::write(rules.join("b.yaml"), rule("b")).unwrap();
    let mut watch = start(&root, NOTICES);
    fs::write(rules.join("a.yaml"), rule("a")).unwrap();
    expect_rules(&mut watch, &root, &["a", "b"]).await;
    fs::remove_file(rules.join("b.yaml")).unwrap();
    expect_rules(&mut watch, &root, &["a"]).await;
    fs::write(rules.join("a.yaml"), rule("c")).unwrap();
    expect_rules(&mut watch, &root, &["c"]).await;
}

#[tokio::test]
async fn after_a_broken_load_the_repair_is_noticed() {
    let (_folder, root) = set_up("webhooks.yaml");
    fs::write(root.join("webhooks.yaml"), rule("one")).unwrap();
    let mut watch = start(&root, NOTICES);
    fs::remove_file(root.join("webhooks.yaml")).unwrap();
    assert!(reload(&mut watch, &root).await.outcome.is_err());
    fs::write(root.join("webhooks.yaml"), rule("two")).unwrap();
    expect_rules(&mut watch, &root, &["two"]).await;
}

#[tokio::test]
async fn change_between_load_and_watch_is_reported() {
    let (_folder, root) = set_up("webhooks.yaml");
    fs::write(root.join("webhooks.yaml"), rule("one")).unwrap();
    let sources = load(&root).sources;
    fs::write(root.join("webhooks.yaml"), rule("two")).unwrap();
    let mut watch = Watch::start(sources, NOTICES).unwrap();
    expect_rules(&mut watch, &root, &["two"]).await;
}

#[tokio::test]
async fn without_notices_the_poll_finds_it() {
    let (_folder, root) = set_up("webhooks.yaml");
    fs::write(root.join("webhooks.yaml"), rule("one")).unwrap();
    let sources = load(&root).sources;
    let (to_thread, messages) = sync_channel(BACKLOG);
    let (notices, changes) = mpsc::channel(1);
    let mut watch = Watch { to_thread: to_thread.clone(), changes };
    let pace = WatchTiming { poll: Duration::from_millis(20), ..NOTICES };
    thread::spawn(move || {
        let polling = FolderWatch { watcher: None, ..FolderWatch::new(to_thread, sources) };
        polling.run(&messages, &notices, pace);
    });
    fs::write(root.join("webhooks.yaml"), rule("two")).unwrap();
    expect_rules(&mut watch, &root, &["two"]).await;
}

#[tokio::test]
async fn file_touched_without_change_is_not_reported() {
    let (_folder, root) = set_up("webhooks.yaml");
    fs::write(root.join("webhooks.yaml"), rule("one")).unwrap();
    fs::write(root.join("other.yaml"), "a file that the config does not name").unwrap();
    let mut watch = start(&root, NOTICES);
    fs::write(root.join("other.yaml"), "changed").unwrap();
    fs::write(root.join("webhooks.new"), rule("one")).unwrap();
    fs::rename(root.join("webhooks.new"), root.join("webhooks.yaml")).unwrap();
    // What comes after it is reported once, so the queue was empty before. In one step: of a file that is
    // written in two, the first may be reported, too.
    fs::write(root.join("webhooks.new"), rule("two")).unwrap();
    fs::rename(root.join("webhooks.new"), root.join("webhooks.yaml")).unwrap();
    expect_rules(&mut watch, &root, &["two"]).await;
    let quiet = timeout(Duration::from_millis(300), watch.changed()).await;
    assert!(quiet.is_err(), "nothing has changed since");
}

#[test]
fn a_dropped_watch_ends_its_thread() {
    let (_folder, root) = set_up("webhooks.yaml");
    fs::write(root.join("webhooks.yaml"), rule("one")).unwrap();
    let watch = start(&root, NOTICES);
    let to_thread = watch.to_thread.clone();
    drop(watch);
    let until = Instant::now() + SOON;
    while to_thread.try_send(Message::Touched) != Err(TrySendError::Disconnected(Message::Touched))
    {
        assert!(Instant::now() < until, "the thread has not ended");
        thread::yield_now();
    }
}
