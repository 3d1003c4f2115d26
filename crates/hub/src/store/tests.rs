//! What the store promises: nothing half-written is listed, whatever fails; what is needed stays, the rest is freed.

use super::disk::faults::{After, after};
use super::{
    Blob, Commit, Fault, Mirrored, MirroredFile, NewCommit, Operation, RepoFile, Store, Upstream, is_large,
};
use crate::name::{CommitId, FilePath, RefName, Repo, RepoKind, Revision};
use crate::{GitDigest, Sha256Digest, StoreError};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

const DAY: Duration = Duration::from_secs(86_400);

fn store() -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    (dir, store)
}

fn repo(name: &str) -> Repo {
    Repo::model(name.parse().unwrap())
}

fn path(text: &str) -> FilePath {
    text.parse().unwrap()
}

fn main() -> RefName {
    RefName::main()
}

fn blob(content: &[u8]) -> Blob {
    Blob { sha256: Sha256Digest::of(content), size: content.len() as u64 }
}

fn add(store: &Store, file: &str, content: &[u8]) -> Result<Operation, StoreError> {
    let (path, blob) = (path(file), store.put(&mut &content[..])?);
    let lfs = is_large(&path, blob.size);
    Ok(Operation::Add { path, sha256: blob.sha256, lfs })
}

fn new_commit(operations: Vec<Operation>) -> NewCommit {
    NewCommit { message: "change".to_owned(), author: "who".to_owned(), expected_parent: None, operations }
}

/// A commit of these files to `main`.
fn commit(store: &Store, repo: &Repo, files: &[(&str, &[u8])]) -> Result<Commit, StoreError> {
    let operations: Result<_, _> = files.iter().map(|(file, content)| add(store, file, content)).collect();
    store.commit(repo, &main(), new_commit(operations?))
}

/// Makes a blob look as old as `age`.
fn make_old(store: &Store, content: &[u8], age: Duration) {
    let path = store.blob_path(&Sha256Digest::of(content)).unwrap();
    super::disk::set_modified(&path, SystemTime::now() - age).unwrap();
}

fn has(store: &Store, content: &[u8]) -> bool {
    store.stored(&Sha256Digest::of(content)).unwrap().is_some()
}

fn unfinished(store: &Store) -> usize {
    super::disk::entries(&store.writing()).unwrap().len()
}

fn faults(store: &Store) -> Vec<Fault> {
    store.verify(&mut |_, _| {}).unwrap()
}

#[test]
fn content_is_stored_once_and_read_only() {
    let (_dir, store) = store();
    let first = store.put(&mut &b"weights"[..]).unwrap();
    assert_eq!(first, blob(b"weights"));
    assert_eq!(store.put(&mut &b"weights"[..]).unwrap(), first);
    let file = store.blob_path(&first.sha256).unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), b"weights");
    assert!(file.metadata().unwrap().permissions().readonly());
    assert_eq!(super::disk::entries(file.parent().unwrap()).unwrap().len(), 1);
    assert_eq!(unfinished(&store), 0);
}

#[test]
fn announced_content_that_lies_leaves_nothing() {
    let (_dir, store) = store();
    let truth = blob(b"weights");
    for (announced, content) in [
        (Blob { size: 6, ..truth }, &b"weights"[..]),
        (Blob { size: 8, ..truth }, b"weights"),
        (truth, b"weight"),
        (truth, b"weightss"),
        (Blob { sha256: Sha256Digest::of(b"other"), ..truth }, b"weights"),
        (truth, b"weighty"),
        (Blob { size: u64::MAX, ..truth }, b"weights"),
    ] {
        let error = store.put_announced(announced, &mut &content[..]).unwrap_err();
        let known = matches!(
            error,
            StoreError::OtherSize { .. } | StoreError::OtherDigest { .. } | StoreError::TooLarge
        );
        assert!(known, "{error}");
        assert_eq!((has(&store, content), unfinished(&store)), (false, 0));
    }
    assert_eq!(store.put_announced(truth, &mut &b"weights"[..]).unwrap(), truth);
}

#[test]
fn a_writer_that_is_dropped_leaves_nothing() {
    let (_dir, store) = store();
    let mut writer = store.writer(None).unwrap();
    writer.push(b"half").unwrap();
    assert_eq!(unfinished(&store), 1);
    drop(writer);
    assert_eq!(unfinished(&store), 0);
}

#[test]
fn commits_add_delete_and_copy() {
    let (_dir, store) = store();
    let repo = repo("a/b");
    store.create(&repo, false).unwrap();
    let first =
        commit(&store, &repo, &[("config.json", b"{}"), ("sub/x.txt", b"x"), ("sub/y.txt", b"y")]).unwrap();
    assert_eq!(first.file(&path("config.json")).unwrap().oid, GitDigest::of(b"{}"));
    let operations = vec![
        Operation::Delete { path: path("config.json") },
        Operation::Copy { from: path("sub/x.txt"), revision: None, to: path("copy.txt") },
        Operation::DeleteFolder { path: path("sub") },
        add(&store, "model.safetensors", b"weights").unwrap(),
    ];
    let second = store.commit(&repo, &main(), new_commit(operations)).unwrap();
    let names: Vec<&str> = second.files.keys().map(FilePath::as_str).collect();
    assert_eq!(names, ["copy.txt", "model.safetensors"]);
    let weights = second.file(&path("model.safetensors")).unwrap();
    assert_eq!(weights.etag(), Sha256Digest::of(b"weights").to_string());
    assert_eq!(weights.oid, GitDigest::of_lfs_pointer(&weights.sha256, 7));
    let from = Some(Revision::Commit(first.id));
    let back = Operation::Copy { from: path("config.json"), revision: from, to: path("config.json") };
    let third = store.commit(&repo, &main(), new_commit(vec![back])).unwrap();
    assert_eq!(third.parent, Some(second.id));
    let history = store.history(&repo, &Revision::main(), 10).unwrap();
    assert_eq!(history.iter().map(|commit| commit.id).collect::<Vec<_>>(), [third.id, second.id, first.id]);
    assert_eq!(store.history(&repo, &Revision::main(), 2).unwrap().len(), 2);
    assert_eq!(store.resolve(&repo, &Revision::Commit(first.id)).unwrap(), first);
    assert_eq!(faults(&store), []);
}

#[test]
fn commits_that_cannot_be_are_refused_and_change_nothing() {
    let (_dir, store) = store();
    let repo = repo("a/b");
    store.create(&repo, false).unwrap();
    let head = commit(&store, &repo, &[("x", b"x"), ("sub/y", b"y")]).unwrap();
    let lacking = Sha256Digest::of(b"never stored");
    let large = store.put(&mut &vec![0; 10 << 20 | 1][..]).unwrap().sha256;
    let lfs = false;
    for (operation, why) in [
        (Operation::Add { path: path("z"), sha256: lacking, lfs }, "no content with the SHA-256"),
        (Operation::Add { path: path("z"), sha256: large, lfs }, "uploaded with LFS"),
        (add(&store, "x/inside", b"z").unwrap(), "a file and a folder"),
        (add(&store, "sub", b"z").unwrap(), "a file and a folder"),
        (Operation::Delete { path: path("nothing") }, "is not a file"),
        (Operation::DeleteFolder { path: path("nothing") }, "is not a file"),
        (Operation::Copy { from: path("nothing"), revision: None, to: path("z") }, "is not a file"),
    ] {
        let error = store.commit(&repo, &main(), new_commit(vec![operation])).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    let unknown: RefName = "unknown".parse().unwrap();
    let error = store.commit(&repo, &unknown, new_commit(Vec::new())).unwrap_err();
    assert!(matches!(error, StoreError::NoRevision { .. }), "{error}");
    let long = NewCommit { message: "x".repeat(100_000), ..new_commit(Vec::new()) };
    assert!(matches!(store.commit(&repo, &main(), long), Err(StoreError::TooMany { .. })));
    assert_eq!(store.resolve(&repo, &Revision::main()).unwrap(), head);
}

#[test]
fn of_two_commits_on_one_parent_the_second_is_told_that_the_branch_moved() {
    let (_dir, store) = store();
    let repo = repo("a/b");
    store.create(&repo, false).unwrap();
    let first = commit(&store, &repo, &[("x", b"1")]).unwrap();
    let change = |content: &[u8]| NewCommit {
        expected_parent: Some(first.id),
        ..new_commit(vec![add(&store, "x", content).unwrap()])
    };
    let (one, other) = (change(b"2"), change(b"3"));
    let second = store.commit(&repo, &main(), one).unwrap();
    match store.commit(&repo, &main(), other) {
        Err(StoreError::Moved { found, .. }) => assert_eq!(found, Some(second.id)),
        result => panic!("{result:?}"),
    }
}

#[test]
fn many_threads_commit_and_none_is_lost() {
    let (_dir, store) = store();
    let repo = repo("a/b");
    store.create(&repo, false).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (store, repo) = (&store, &repo);
            scope.spawn(move || {
                for n in 0..5 {
                    commit(store, repo, &[(&format!("{thread}-{n}"), b"same")]).unwrap();
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..10 {
                store.collect(DAY).unwrap();
            }
        });
    });
    assert_eq!(store.resolve(&repo, &Revision::main()).unwrap().files.len(), 20);
    assert_eq!(store.history(&repo, &Revision::main(), 100).unwrap().len(), 20);
    assert_eq!((faults(&store), unfinished(&store)), (Vec::new(), 0));
}

#[test]
fn names_that_differ_in_case_only_are_refused() {
    let (_dir, store) = store();
    store.create(&repo("Qwen/Base"), false).unwrap();
    for name in ["qwen/Base", "Qwen/base", "QWEN/other"] {
        assert!(matches!(store.create(&repo(name), false), Err(StoreError::Collision { .. })), "{name}");
    }
    assert!(matches!(store.create(&repo("Qwen/Base"), false), Err(StoreError::RepoExists(_))));
    store.create(&repo("Qwen/Other"), true).unwrap();
    store.create(&Repo::dataset("Qwen/Base".parse().unwrap()), false).unwrap();
    let listed: Vec<String> =
        store.list(RepoKind::Model).unwrap().iter().map(|info| info.repo.to_string()).collect();
    assert_eq!(listed, ["Qwen/Base", "Qwen/Other"]);
}

#[test]
fn branches_and_tags_are_made_moved_and_deleted() {
    let (_dir, store) = store();
    let repo = repo("a/b");
    store.create(&repo, false).unwrap();
    let (tag, branch): (RefName, RefName) = ("v1".parse().unwrap(), "next/big".parse().unwrap());
    let at_main = Revision::main();
    assert!(matches!(store.tag(&repo, &tag, &at_main, false), Err(StoreError::NoRevision { .. })));
    store.branch(&repo, &branch, &at_main, false).unwrap();
    let first = commit(&store, &repo, &[("x", b"1")]).unwrap();
    store.tag(&repo, &tag, &at_main, false).unwrap();
    let second = commit(&store, &repo, &[("x", b"2")]).unwrap();
    assert_eq!(store.resolve(&repo, &Revision::Ref(tag.clone())).unwrap(), first);
    for force in [false, true] {
        // a tag is no branch, whoever insists
        assert!(matches!(store.branch(&repo, &tag, &at_main, force), Err(StoreError::RefExists { .. })));
    }
    assert!(matches!(store.tag(&repo, &tag, &at_main, false), Err(StoreError::RefExists { .. })));
    assert_eq!(store.tag(&repo, &tag, &at_main, true).unwrap(), second.id);
    store.branch(&repo, &branch, &Revision::Commit(first.id), true).unwrap();
    assert_eq!(store.resolve(&repo, &Revision::Ref(branch.clone())).unwrap(), first);
    store.delete_branch(&repo, &branch).unwrap();
    store.delete_tag(&repo, &tag).unwrap();
    assert!(matches!(store.delete_tag(&repo, &tag), Err(StoreError::NoRevision { .. })));
    assert!(matches!(store.delete_branch(&repo, &main()), Err(StoreError::MainBranch(_))));
}

#[test]
fn a_snapshot_is_links_and_is_made_again_when_missing() {
    let (dir, store) = store();
    let repo = repo("a/b");
    store.create(&repo, false).unwrap();
    let commit = commit(&store, &repo, &[("config.json", b"{}"), ("sub dir/deep/x", b"x")]).unwrap();
    assert_eq!(store.info(&repo).unwrap().used, None);
    let snapshot = store.snapshot(&repo, &commit).unwrap();
    assert!(store.info(&repo).unwrap().used.is_some());
    let check = |root: &Path| {
        let snapshot = root.join("models/a/b/snapshots").join(commit.id.to_string());
        assert_eq!(std::fs::read(snapshot.join("config.json")).unwrap(), b"{}");
        assert_eq!(std::fs::read(snapshot.join("sub dir/deep/x")).unwrap(), b"x");
        assert!(snapshot.join("sub dir/deep/x").read_link().unwrap().is_relative());
    };
    check(dir.path());
    std::fs::remove_file(snapshot.join("config.json")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", snapshot.join("config.json")).unwrap();
    std::fs::remove_dir_all(snapshot.join("sub dir")).unwrap();
    assert_eq!(store.snapshot(&repo, &commit).unwrap(), snapshot);
    check(dir.path());
    // the store may be moved
    let elsewhere = tempfile::tempdir().unwrap();
    let moved = elsewhere.path().join("hub");
    std::fs::rename(dir.path(), &moved).unwrap();
    check(&moved);
}

#[test]
fn removing_and_collecting_frees_what_no_other_needs() {
    let (_dir, store) = store();
    let (one, two) = (repo("a/one"), repo("a/two"));
    for repo in [&one, &two] {
        store.create(repo, false).unwrap();
    }
    commit(&store, &one, &[("x", b"only one"), ("y", b"shared")]).unwrap();
    commit(&store, &two, &[("y", b"shared")]).unwrap();
    store.put(&mut &b"about to be committed"[..]).unwrap();
    store.remove(&one).unwrap();
    assert!(matches!(store.info(&one), Err(StoreError::NoRepo(_))));
    assert!(matches!(store.remove(&one), Err(StoreError::NoRepo(_))));
    let collected = store.collect(DAY).unwrap();
    assert_eq!((collected.blobs, collected.bytes), (1, 8));
    assert!(!has(&store, b"only one") && has(&store, b"shared") && has(&store, b"about to be committed"));
    assert_eq!(store.collect(Duration::ZERO).unwrap().blobs, 1);
    assert_eq!(faults(&store), []);
    store.create(&repo("A/one"), false).unwrap_err();
    store.remove(&two).unwrap();
    // the owner went with the last repository
    store.create(&repo("A/one"), false).unwrap();
}

#[test]
fn what_an_upload_counts_on_is_not_collected() {
    let (_dir, store) = store();
    let (one, two) = (repo("a/one"), repo("a/two"));
    store.create(&one, false).unwrap();
    store.create(&two, false).unwrap();
    let commit_long_ago = commit(&store, &one, &[("x", b"weights")]).unwrap();
    make_old(&store, b"weights", 2 * DAY);
    let record = super::commit::commit_file(&store.repo_dir(&one), commit_long_ago.id);
    super::disk::set_modified(&record, SystemTime::now() - DAY).unwrap();
    // an upload is told that it needn't send the content, then the repository that has it goes
    assert_eq!(store.has(&Sha256Digest::of(b"weights")).unwrap(), Some(blob(b"weights")));
    store.remove(&one).unwrap();
    assert_eq!(store.collect(DAY).unwrap().blobs, 0);
    commit(&store, &two, &[("x", b"weights")]).unwrap();
    assert_eq!(faults(&store), []);
}

#[test]
fn uploads_under_way_are_not_collected_and_old_ones_are() {
    let (_dir, store) = store();
    let mut writer = store.writer(None).unwrap();
    writer.push(b"under ").unwrap();
    let partial = store.partial(blob(b"download")).unwrap();
    assert_eq!(store.collect(Duration::ZERO).unwrap(), super::Collected::default());
    writer.push(b"way").unwrap();
    assert_eq!(writer.finish().unwrap(), blob(b"under way"));
    drop(partial);
    assert_eq!(store.collect(DAY).unwrap().unfinished, 0);
    assert_eq!(store.collect(Duration::ZERO).unwrap().unfinished, 2);
    assert_eq!(unfinished(&store), 0);
}

#[test]
fn commits_that_nothing_leads_to_are_collected_when_old() {
    let (_dir, store) = store();
    let repo = repo("a/b");
    let upstream = Upstream { hub: "hf".to_owned(), repo: repo.id.clone() };
    let pull = |id: u8, content: &[u8], branch: Option<RefName>| {
        let sha256 = store.put(&mut &content[..]).unwrap().sha256;
        let files = BTreeMap::from([(path("x"), MirroredFile { sha256, lfs: false })]);
        let id = Some(CommitId(GitDigest::from_bytes([id; 20])));
        let upstream = upstream.clone();
        let (message, author, time) = (String::new(), String::new(), None);
        store.mirror(&repo, Mirrored { id, branch, upstream, message, author, time, files }).unwrap()
    };
    let first = pull(1, b"first", Some(main()));
    store.snapshot(&repo, &first).unwrap();
    let second = pull(2, b"second", Some(main()));
    let pinned = pull(3, b"pinned", None);
    assert_eq!(store.collect(DAY).unwrap(), super::Collected::default());
    let collected = store.collect(Duration::ZERO).unwrap();
    assert_eq!((collected.commits, collected.blobs), (1, 1));
    assert!(matches!(store.resolve(&repo, &Revision::Commit(first.id)), Err(StoreError::NoRevision { .. })));
    for commit in [&second, &pinned] {
        let snapshot = store.snapshot(&repo, commit).unwrap();
        assert!(snapshot.join("x").exists());
    }
    store.unpin(&repo, pinned.id).unwrap();
    assert!(matches!(store.unpin(&repo, second.id), Err(StoreError::NoRevision { .. })));
    assert_eq!(store.collect(Duration::ZERO).unwrap().commits, 1);
    assert_eq!(store.resolve(&repo, &Revision::main()).unwrap(), second);
}

#[test]
fn without_main_the_newest_commit_stands_for_a_repository() {
    let (_dir, store) = store();
    let (pulled, made) = (repo("a/pulled"), repo("a/made"));
    let upstream = Upstream { hub: "hf".to_owned(), repo: pulled.id.clone() };
    let pull = |id: u8, branch: Option<&str>, time: u64| {
        let id = Some(CommitId(GitDigest::from_bytes([id; 20])));
        let branch = branch.map(|branch| branch.parse().unwrap());
        let (message, author, files) = (String::new(), String::new(), BTreeMap::new());
        let (upstream, time) = (upstream.clone(), Some(time));
        store.mirror(&pulled, Mirrored { id, branch, upstream, message, author, time, files }).unwrap()
    };
    pull(1, Some("v1"), 10);
    let newest = pull(2, None, 30);
    pull(3, Some("v2"), 20);
    assert_eq!(store.head(&pulled).unwrap(), newest);
    let main = pull(4, Some("main"), 5);
    assert_eq!(store.head(&pulled).unwrap(), main);
    assert!(matches!(store.head(&made), Err(StoreError::NoRepo(_))));
    store.create(&made, false).unwrap();
    assert!(matches!(store.head(&made), Err(StoreError::NoRevision { .. })));
}

#[test]
fn nothing_is_collected_while_a_repository_cannot_be_read() {
    let (dir, store) = store();
    let repo = repo("a/b");
    store.create(&repo, false).unwrap();
    commit(&store, &repo, &[("x", b"weights")]).unwrap();
    std::fs::write(dir.path().join("models/a/b/repo.json"), "{").unwrap();
    assert!(matches!(store.collect(Duration::ZERO), Err(StoreError::Broken { .. })));
    assert!(has(&store, b"weights"));
    assert_eq!(store.list(RepoKind::Model).unwrap(), []);
    assert!(matches!(&faults(&store)[..], [Fault::Record { .. }]));
    store.remove(&repo).unwrap();
    assert_eq!(store.collect(Duration::ZERO).unwrap().blobs, 1);
}

#[test]
fn files_of_one_pulled_commit_come_together() {
    let (_dir, store) = store();
    let repo = repo("Qwen/Small");
    let upstream = Upstream { hub: "hf".to_owned(), repo: repo.id.clone() };
    let id = CommitId(GitDigest::from_bytes([7; 20]));
    let pull = |file: &str, content: &[u8], upstream: &Upstream| {
        let sha256 = store.put(&mut &content[..]).unwrap().sha256;
        let files = BTreeMap::from([(path(file), MirroredFile { sha256, lfs: false })]);
        let (branch, upstream) = (Some(main()), upstream.clone());
        let (message, author, time) = ("theirs".to_owned(), "they".to_owned(), Some(1_700_000_000));
        store.mirror(&repo, Mirrored { id: Some(id), branch, upstream, message, author, time, files })
    };
    let first = pull("config.json", b"{}", &upstream).unwrap();
    let snapshot = store.snapshot(&repo, &first).unwrap();
    let both = pull("x.gguf", b"weights", &upstream).unwrap();
    assert_eq!((both.id, both.files.len(), both.time), (id, 2, 1_700_000_000));
    assert_eq!(store.snapshot(&repo, &both).unwrap(), snapshot);
    assert!(snapshot.join("config.json").exists() && snapshot.join("x.gguf").exists());
    assert!(matches!(pull("x.gguf", b"changed", &upstream), Err(StoreError::Changed { .. })));
    let other = Upstream { hub: "ms".to_owned(), repo: repo.id.clone() };
    assert!(matches!(pull("x.gguf", b"weights", &other), Err(StoreError::OtherUpstream { .. })));
    assert_eq!(store.resolve(&repo, &Revision::main()).unwrap(), both);
    assert_eq!(faults(&store), []);
}

#[test]
fn downloads_go_on_where_they_stopped() {
    let (_dir, store) = store();
    let content: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
    let wanted = blob(&content);
    let partial = store.partial(wanted).unwrap();
    assert!(matches!(store.partial(wanted), Err(StoreError::Downloading(_))));
    let put = |partial: &super::Partial, from: usize, to: usize| {
        partial.write_at(&content[from..to], from as u64).unwrap();
        partial.record(from as u64..to as u64).unwrap();
    };
    put(&partial, 400_000, 600_000);
    put(&partial, 0, 100_000);
    partial.digest().unwrap();
    partial.write_at(&content[100_000..200_000], 100_000).unwrap();
    assert!(matches!(partial.write_at(b"x", 1_000_000), Err(StoreError::OtherSize { .. })));
    assert!(partial.record(999_999..1_000_001).is_err());
    drop(partial);
    let partial = store.partial(wanted).unwrap();
    assert_eq!(
        partial.missing(),
        [100_000..400_000, 600_000..1_000_000],
        "what wasn't recorded is needed again"
    );
    assert_eq!(partial.finished_bytes(), 300_000);
    std::thread::scope(|scope| {
        for from in (0..1_000_000).step_by(100_000) {
            let (put, partial) = (&put, &partial);
            scope.spawn(move || {
                put(partial, from, from + 100_000);
                partial.digest().unwrap();
            });
        }
    });
    assert_eq!(partial.finish().unwrap(), wanted);
    assert_eq!(std::fs::read(store.blob_path(&wanted.sha256).unwrap()).unwrap(), content);
    assert_eq!(unfinished(&store), 0);
}

#[test]
fn a_download_with_the_wrong_bytes_begins_anew() {
    let (_dir, store) = store();
    let wanted = blob(b"weights");
    let partial = store.partial(wanted).unwrap();
    partial.write_at(b"weighty", 0).unwrap();
    partial.record(0..7).unwrap();
    assert!(matches!(partial.finish(), Err(StoreError::OtherDigest { .. })));
    assert_eq!((has(&store, b"weights"), unfinished(&store)), (false, 0));
    // part of it was never written
    let partial = store.partial(wanted).unwrap();
    partial.record(0..3).unwrap();
    assert!(matches!(partial.finish(), Err(StoreError::OtherSize { announced: 7, found: 3 })));
    // another size was announced before: what is there is of something else
    assert_eq!(store.partial(Blob { size: 8, ..wanted }).unwrap().missing(), [0..8]);
    let empty = store.partial(blob(b"")).unwrap();
    assert_eq!(empty.missing(), []);
    assert_eq!(empty.finish().unwrap(), blob(b""));
    let huge = Blob { size: 400 << 30, ..wanted };
    if let Err(error) = store.partial(huge) {
        assert!(matches!(error, StoreError::NoRoom { .. }), "{error}");
    }
}

#[test]
fn a_broken_line_of_a_download_ends_what_is_known() {
    let (_dir, store) = store();
    let wanted = blob(&[7; 100]);
    drop(store.partial(wanted).unwrap());
    let log = store.writing().join(format!("{}.ranges", wanted.sha256));
    for (lines, missing) in [
        ("0 10;\n20 30;\n", vec![10..20, 30..100]),
        ("0 10;\n20 3", vec![10..100]),
        ("0 10;\n20 30\n40 50;\n", vec![10..100]),
        ("0 10;\n0 101;\n20 30;\n", vec![10..100]),
        ("30 20;\n", vec![0..100]),
        ("-1 5;\n", vec![0..100]),
        ("\u{0}\u{ff}", vec![0..100]),
    ] {
        std::fs::write(&log, lines).unwrap();
        assert_eq!(store.partial(wanted).unwrap().missing(), missing, "{lines:?}");
    }
}

#[test]
fn verifying_finds_what_is_broken_and_discarding_lets_it_be_stored_again() {
    let (dir, store) = store();
    let repo = repo("a/b");
    store.create(&repo, false).unwrap();
    let commit = commit(&store, &repo, &[("x", b"rotten"), ("y", b"lost"), ("z", b"sound")]).unwrap();
    let (rotten, lost) = (Sha256Digest::of(b"rotten"), Sha256Digest::of(b"lost"));
    let file = store.blob_path(&rotten).unwrap();
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, b"rotteN").unwrap();
    std::fs::remove_file(store.blob_path(&lost).unwrap()).unwrap();
    std::fs::write(dir.path().join("blobs/stranger"), b"").unwrap();
    let mut progress = Vec::new();
    let found = store.verify(&mut |done, total| progress.push((done, total))).unwrap();
    assert_eq!(progress.last(), Some(&(11, 11)));
    let text: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(text.len(), 2, "{text:?}");
    assert!(text[0].contains("y: its content") && text[0].contains("is missing"), "{text:?}");
    assert!(text[1].starts_with(&format!("a/b: x is broken: the content {rotten}")), "{text:?}");
    assert!(matches!(store.snapshot(&repo, &commit), Err(StoreError::NoBlob(sha256)) if sha256 == lost));
    assert!(store.discard_broken(&rotten).unwrap());
    assert!(!store.discard_broken(&Sha256Digest::of(b"sound")).unwrap());
    for content in [&b"rotten"[..], b"lost"] {
        store.put(&mut &content[..]).unwrap();
    }
    assert_eq!(faults(&store), []);
    // a commit that somebody changed
    let record = dir.path().join(format!("models/a/b/commits/{}.json", commit.id));
    let text = std::fs::read_to_string(&record).unwrap();
    std::fs::write(&record, text.replace("\"who\"", "\"me\"")).unwrap();
    assert!(matches!(&faults(&store)[..], [Fault::Record { reason, .. }] if reason.contains("changed")));
    std::fs::write(&record, text.replace("\"x\"", "\"../x\"")).unwrap();
    assert!(matches!(store.resolve(&repo, &Revision::main()), Err(StoreError::Broken { .. })));
}

#[test]
fn an_ordinary_directory_is_imported() {
    let (_dir, store) = store();
    let model = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &[u8]| {
        let file = model.path().join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, content).unwrap();
    };
    write("config.json", b"{}");
    write("model.safetensors", b"weights");
    write("sub/名字.txt", b"text");
    write(".gitattributes", b"*");
    write(".cache/x", b"hidden");
    std::os::unix::fs::symlink("model.safetensors", model.path().join("again.safetensors")).unwrap();
    let operations = store.import(model.path()).unwrap();
    let repo = repo("a/b");
    store.create(&repo, false).unwrap();
    let commit = store.commit(&repo, &main(), new_commit(operations)).unwrap();
    let files: Vec<(&str, u64, bool)> =
        commit.files.iter().map(|(path, file)| (path.as_str(), file.size, file.lfs)).collect();
    assert_eq!(
        files,
        [
            (".gitattributes", 1, false),
            ("again.safetensors", 7, true),
            ("config.json", 2, false),
            ("model.safetensors", 7, true),
            ("sub/名字.txt", 4, false)
        ]
    );
    std::os::unix::fs::symlink("/etc/hosts", model.path().join("hosts")).unwrap();
    assert!(matches!(store.import(model.path()), Err(StoreError::LinkOutside(_))));
    // a cache of Hugging Face's client
    let cache = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(cache.path().join("snapshots/abc")).unwrap();
    std::fs::create_dir_all(cache.path().join("blobs")).unwrap();
    std::fs::write(cache.path().join("blobs/1"), b"cached").unwrap();
    std::os::unix::fs::symlink("../../blobs/1", cache.path().join("snapshots/abc/x.bin")).unwrap();
    assert_eq!(store.import(&cache.path().join("snapshots/abc")).unwrap().len(), 1);
    assert!(has(&store, b"cached"));
}

/// A store with two repositories, and what an operation on it makes of it.
struct Scene {
    _dir: TempDir,
    store: Store,
    repo: Repo,
    commit: Commit,
}

fn scene() -> Scene {
    let (dir, store) = store();
    let (repo, other) = (repo("a/b"), repo("a/other"));
    store.create(&repo, false).unwrap();
    store.create(&other, false).unwrap();
    commit(&store, &other, &[("x", b"1"), ("y", b"shared")]).unwrap();
    let commit = commit(&store, &repo, &[("y", b"shared"), ("sub/z", b"z")]).unwrap();
    Scene { _dir: dir, store, repo, commit }
}

/// All that is listed, with the content of every file: what others see of a store.
fn seen(store: &Store) -> String {
    let mut text = String::new();
    for kind in RepoKind::ALL {
        for repo in store.repos(kind).unwrap() {
            let info = match store.info(&repo) {
                Err(StoreError::NoRepo(_)) => continue,
                info => info.unwrap(),
            };
            text += &format!("{repo} {} {:?} {:?}\n", info.private, info.branches.keys(), info.tags.keys());
            for name in info.branches.iter().filter_map(|(name, id)| id.map(|_| name)).chain(info.tags.keys())
            {
                let commit = store.resolve(&repo, &Revision::Ref(name.clone())).unwrap();
                for (path, file) in &commit.files {
                    let content = std::fs::read(store.blob_path(&file.sha256).unwrap()).unwrap();
                    assert_eq!(blob(&content), file.blob());
                    text += &format!("  {name} {path} {}\n", String::from_utf8_lossy(&content));
                }
            }
        }
    }
    text
}

type Work = fn(&Scene) -> Result<(), StoreError>;

/// Lets each step of `work` fail in turn, until it runs through: the store is as before or as after, nothing of it is
/// broken, and what failed can be done again.
fn survives_every_fault(name: &str, work: Work) {
    let before = seen(&scene().store);
    let finished = scene();
    work(&finished).unwrap();
    let done = seen(&finished.store);
    for then in [After::GoesOn, After::Dead] {
        for steps in 0.. {
            let scene = scene();
            let (result, failed) = after(steps, then, || work(&scene));
            if !failed {
                result.unwrap();
                assert!(steps > 0, "{name} writes nothing");
                break;
            }
            let store = Store::open(scene.store.root()).unwrap();
            let now = seen(&store);
            assert!(now == before || now == done, "{name}, step {steps}:\n{now}");
            if result.is_ok() {
                assert_eq!(now, done, "{name}, step {steps}: it said that it was done");
            }
            assert_eq!(faults(&store), [], "{name}, step {steps}");
            if now == before {
                work(&scene).unwrap_or_else(|error| panic!("{name}, after step {steps}: {error}"));
            }
            assert_eq!(seen(&store), done, "{name}, again after step {steps}");
            store.collect(Duration::ZERO).unwrap();
            assert_eq!((seen(&store), unfinished(&store)), (done.clone(), 0), "{name}, step {steps}");
        }
    }
}

#[test]
fn whatever_fails_the_store_is_as_before_or_as_after() {
    let works: [(&str, Work); 8] = [
        ("create", |scene| scene.store.create(&repo("new/one"), true)),
        ("commit", |scene| {
            let files: [(&str, &[u8]); 2] = [("new.txt", b"new"), ("sub/z", b"changed")];
            commit(&scene.store, &scene.repo, &files).map(|_| ())
        }),
        ("mirror", |scene| {
            let repo = repo("Qwen/New");
            let sha256 = scene.store.put(&mut &b"pulled"[..])?.sha256;
            let files = BTreeMap::from([(path("x.gguf"), MirroredFile { sha256, lfs: true })]);
            let upstream = Upstream { hub: "hf".to_owned(), repo: repo.id.clone() };
            let (message, author, branch) = (String::new(), String::new(), Some(main()));
            let mirrored = Mirrored { id: None, branch, upstream, message, author, time: None, files };
            scene.store.mirror(&repo, mirrored).map(|_| ())
        }),
        ("tag", |scene| {
            let name = "v1".parse().unwrap();
            scene.store.tag(&scene.repo, &name, &Revision::main(), false).map(|_| ())
        }),
        ("remove", |scene| scene.store.remove(&scene.repo)),
        ("snapshot", |scene| {
            let snapshot = scene.store.snapshot(&scene.repo, &scene.commit)?;
            assert_eq!(std::fs::read(snapshot.join("sub/z")).unwrap(), b"z");
            Ok(())
        }),
        ("download", |scene| {
            let partial = scene.store.partial(blob(b"downloaded"))?;
            partial.write_at(b"downloaded", 0)?;
            partial.record(0..10)?;
            partial.finish().map(|_| ())
        }),
        ("collect", |scene| {
            scene.store.put(&mut &b"garbage"[..])?;
            scene.store.collect(Duration::ZERO).map(|_| ())
        }),
    ];
    for (name, work) in works {
        survives_every_fault(name, work);
    }
}

#[test]
fn a_full_disk_says_so() {
    let scene = scene();
    let (result, _) = after(1, After::GoesOn, || scene.store.put(&mut &b"new"[..]));
    let error = result.unwrap_err();
    assert!(matches!(error, StoreError::Full(_)), "{error}");
    assert!(error.to_string().contains("wen models gc"), "{error}");
    assert_eq!(unfinished(&scene.store), 0);
}

#[test]
fn a_repository_has_at_most_so_many_branches_and_tags() {
    let (dir, store) = store();
    let repo = repo("a/b");
    store.create(&repo, false).unwrap();
    let commit = commit(&store, &repo, &[("x", b"x")]).unwrap();
    let mut file: RepoFile = store.read_repo(&repo).unwrap();
    file.tags = (1..crate::limits::MAX_REFS).map(|n| (format!("t{n}").parse().unwrap(), commit.id)).collect();
    std::fs::write(dir.path().join("models/a/b/repo.json"), serde_json::to_vec(&file).unwrap()).unwrap();
    let result = store.tag(&repo, &"one-more".parse().unwrap(), &Revision::main(), false);
    assert!(matches!(result, Err(StoreError::TooMany { .. })));
    store.tag(&repo, &"t1".parse().unwrap(), &Revision::main(), true).unwrap();
}

/// A store whose home is a bucket, as one of several machines sees it.
fn machine(objects: &std::sync::Arc<object_store::memory::InMemory>) -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let bucket = super::bucket::Bucket::of(objects.clone(), "some/prefix", "memory").unwrap();
    let store = Store::open_at(dir.path(), Some(std::sync::Arc::new(bucket))).unwrap();
    (dir, store)
}

#[test]
fn a_bucket_is_the_home_that_several_machines_share() {
    let objects = std::sync::Arc::default();
    let ((_a, here), (_b, there)) = (machine(&objects), machine(&objects));
    let repo = repo("a/b");
    here.create(&repo, true).unwrap();
    assert!(matches!(there.create(&repo, true), Err(StoreError::RepoExists(_))));
    let taken = Repo::model("A/b".parse().unwrap());
    assert!(matches!(there.create(&taken, true), Err(StoreError::Collision { .. })));

    let large: Vec<u8> = (0..(20 << 20) + 5_u32).map(|n| (n % 253) as u8).collect();
    let first = commit(&here, &repo, &[("x", b"1"), ("sub/model.safetensors", &large)]).unwrap();
    let snapshot = there.snapshot(&repo, &there.resolve(&repo, &Revision::main()).unwrap()).unwrap();
    assert!(std::fs::read(snapshot.join("sub/model.safetensors")).unwrap() == large);
    assert!(there.info(&repo).unwrap().private && there.list(RepoKind::Model).unwrap().len() == 1);

    // both commit, on what the other made
    let second = commit(&there, &repo, &[("x", b"2")]).unwrap();
    let third = commit(&here, &repo, &[("y", b"3")]).unwrap();
    assert_eq!((second.parent, third.parent), (Some(first.id), Some(second.id)));
    assert_eq!(there.history(&repo, &Revision::main(), 10).unwrap().len(), 3);
    here.tag(&repo, &"v1".parse().unwrap(), &Revision::Commit(first.id), false).unwrap();
    assert_eq!(there.resolve(&repo, &Revision::Ref("v1".parse().unwrap())).unwrap(), first);
    assert_eq!((faults(&here), faults(&there)), (Vec::new(), Vec::new()));

    // what was changed since it was read is not written over
    let stale = here.open_repo(&repo).unwrap();
    there.set_private(&repo, false).unwrap();
    assert!(matches!(stale.save(&here), Err(StoreError::Conflict(_))));
    assert!(!here.info(&repo).unwrap().private);

    let download = there.partial(blob(b"downloaded")).unwrap();
    download.write_at(b"downloaded", 0).unwrap();
    download.record(0..10).unwrap();
    download.finish().unwrap();
    assert!(here.has(&Sha256Digest::of(b"downloaded")).unwrap().is_some());
    assert_eq!(here.collect(DAY).unwrap(), super::Collected::default());
    assert_eq!(here.collect(Duration::ZERO).unwrap().blobs, 1);
    assert!(here.has(&Sha256Digest::of(b"downloaded")).unwrap().is_none());

    there.remove(&repo).unwrap();
    assert!(matches!(here.info(&repo), Err(StoreError::NoRepo(_))));
    here.collect(Duration::ZERO).unwrap();
    let left = here.bucket.as_ref().unwrap().list("").unwrap();
    assert!(left.is_empty(), "{:?}", left.iter().map(|object| &object.name).collect::<Vec<_>>());
}

#[test]
fn content_that_rots_in_a_bucket_is_found() {
    let objects = std::sync::Arc::default();
    let (_dir, store) = machine(&objects);
    let repo = repo("a/b");
    store.create(&repo, false).unwrap();
    let commit = commit(&store, &repo, &[("x", b"rotten")]).unwrap();
    let sha256 = Sha256Digest::of(b"rotten");
    let name = store.object_name(&store.blob_file(&sha256));
    let bucket = store.bucket.as_ref().unwrap();
    bucket.write(&name, b"rotteN".to_vec(), super::bucket::Condition::Any).unwrap();
    std::fs::remove_file(store.blob_file(&sha256)).unwrap();
    let is_named = |fault: &Fault| matches!(fault, Fault::Blob { file: Some(file), .. } if file == "a/b: x");
    let found = faults(&store);
    assert!(found.len() == 1 && found.iter().all(is_named), "{found:?}");
    // here as well
    std::fs::write(store.blob_file(&sha256), b"rotteN").unwrap();
    let found = faults(&store);
    assert!(found.len() == 2 && found.iter().all(is_named), "{found:?}");
    std::fs::remove_file(store.blob_file(&sha256)).unwrap();
    assert!(matches!(store.snapshot(&repo, &commit), Err(StoreError::OtherDigest { .. })));
    assert!(!store.blob_file(&sha256).exists());
    assert!(store.discard_broken(&sha256).unwrap());
    assert!(store.has(&sha256).unwrap().is_none());
}
