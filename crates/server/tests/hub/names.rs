//! Names that try to get out of the store, or to pass for others.

use crate::client::{Client, file};
use serde_json::json;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Paths of files, as they stand in an address.
const HOSTILE: [&str; 30] = [
    "..",
    "../secret",
    "..%2fsecret",
    "%2e%2e%2fsecret",
    "%2e%2e/%2e%2e/secret",
    "a/..%2f..%2f..%2fsecret",
    "a/../../secret",
    "%2fetc%2fpasswd",
    "//etc/passwd",
    "..%5csecret",
    "a%5c..%5csecret",
    "c:%5cwindows",
    "c:/windows",
    "a%00.txt",
    "a%0d%0aSet-Cookie:%20x",
    "a%7f",
    "%e2%80%a5/secret",
    "%e2%88%95etc",
    "%ef%bc%8fetc",
    "a%ef%bc%8e%ef%bc%8e%2fb",
    "%e2%81%84etc",
    "a%e2%80%8bb",
    "a%e2%80%aeb",
    ".git/config",
    ".GIT/config",
    "a/.git/config",
    "a//b",
    "./a",
    "a/.",
    "a%20",
];

/// All files below a directory, with their sizes.
fn files(root: &Path) -> BTreeSet<(PathBuf, u64)> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(root).unwrap().map(Result::unwrap) {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.insert((entry.path(), entry.metadata().unwrap().len()));
        }
    }
    found
}

fn decoded(path: &str) -> String {
    let query = format!("p={path}");
    form_urlencoded::parse(query.as_bytes()).map(|(_, value)| value.into_owned()).next().unwrap()
}

#[tokio::test]
async fn no_path_climbs_out_or_passes_for_another() {
    let hub = Client::member();
    hub.model("toy", false, &[("a", b"a")]).await;
    std::fs::write(hub.root.path().join("secret"), "secret").unwrap();
    let before = files(hub.root.path());
    for path in HOSTILE {
        for address in [
            format!("/wen/toy/resolve/main/{path}"),
            format!("/api/models/wen/toy/tree/main/{path}"),
            format!("/api/v1/models/wen/toy/repo?FilePath={path}"),
            format!("/api/v1/models/wen/toy/repo/files?Root={path}"),
        ] {
            // leading slashes and what stands at the root are the same to ModelScope
            let at_root = ["%2fetc%2fpasswd", "//etc/passwd"].contains(&path);
            let reply = hub.get(&address).await;
            let refused = reply.status == 400
                || (reply.status == 404 && (at_root || address.contains("/resolve/main/..")));
            assert!(refused, "{address}: {} {}", reply.status, reply.text());
        }
        let text = decoded(path);
        for line in [
            file(&text, b"x"),
            json!({"key": "lfsFile", "value": {"path": text, "oid": "00".repeat(32)}}),
            json!({"key": "deletedFile", "value": {"path": text}}),
            json!({"key": "copyFile", "value": {"path": "b", "srcPath": text}}),
            json!({"key": "copyFile", "value": {"path": text, "srcPath": "a"}}),
        ] {
            let reply = hub.commit("/api/models/wen/toy/commit/main", std::slice::from_ref(&line)).await;
            assert_eq!(reply.status, 400, "{line}: {}", reply.text());
        }
        let actions = json!([{"action": "create", "path": text, "content": "x"}]);
        let reply = hub.post("/api/v1/repos/models/wen/toy/commit/master", json!({"actions": actions})).await;
        assert_eq!(reply.status, 400, "{text}: {}", reply.text());
    }
    let tree = hub.get("/api/models/wen/toy/tree/main?recursive=true").await.value();
    assert_eq!(tree.as_array().map(Vec::len), Some(1), "{tree}");
    // content may have been stored before its path was looked at; it belongs to nothing
    let new: Vec<_> = files(hub.root.path()).difference(&before).cloned().collect();
    assert!(new.iter().all(|(path, _)| path.starts_with(hub.root.path().join("blobs"))), "{new:?}");
}

#[tokio::test]
async fn no_repository_is_called_like_a_way_out() {
    let hub = Client::member();
    let before = files(hub.root.path());
    for name in [
        "..",
        ".",
        "a/b/c",
        "../x",
        "..%2fx",
        "x..y",
        "x--y",
        "-x",
        "x-",
        ".x",
        "x.git",
        "",
        " ",
        "a b",
        "a\u{0}b",
        "a\\b",
        "模型",
        "a\u{2215}b",
    ] {
        for owner in [None, Some("wen"), Some(".."), Some("")] {
            let reply = hub.post("/api/repos/create", json!({"name": name, "organization": owner})).await;
            assert_eq!(reply.status, 400, "{owner:?} {name}: {}", reply.text());
        }
        let reply = hub.post("/api/v1/models", json!({"Path": "wen", "Name": name})).await;
        assert_eq!(reply.status, 400, "{name}: {}", reply.text());
    }
    for owner in ["api", "v1", "datasets", "hub", "Models"] {
        let reply = hub.post("/api/repos/create", json!({"name": "x", "organization": owner})).await;
        assert_eq!(reply.status, 400, "{owner}: its address would be another route's");
    }
    for path in [
        "/api/models/%2e%2e/x",
        "/api/models/wen/..%2f..%2fx",
        "/api/models/wen/%00",
        "/..%2f..%2fetc/x/resolve/main/passwd",
        "/api/v1/models/wen/%2e%2e",
        "/api/models/wen/%ff",
    ] {
        assert_eq!(hub.get(path).await.status, 400, "{path}");
    }
    assert_eq!(files(hub.root.path()), before);
}

#[tokio::test]
async fn no_revision_is_called_like_a_way_out() {
    let hub = Client::member();
    hub.model("toy", false, &[("a", b"a")]).await;
    let before = files(hub.root.path());
    for name in ["..", "a/../../b", "-a", "a b", "a\u{0}", "a\\b", "refs/../x", "a.lock", "@{u}", "a~1", ""] {
        let tag = hub.post("/api/models/wen/toy/tag/main", json!({"tag": name})).await;
        assert_eq!(tag.status, 400, "{name}: {}", tag.text());
        let tag = hub.post("/api/v1/models/wen/toy/repo/tag", json!({"TagName": name})).await;
        assert_eq!(tag.status, 400, "{name}: {}", tag.text());
    }
    for encoded in ["..", "%2e%2e", "..%2f..%2fx", "a%00", "a%5cb", "a%20b"] {
        let reply = hub.get(&format!("/wen/toy/resolve/{encoded}/a")).await;
        assert_eq!(reply.refusal(), (404, Some("RevisionNotFound")), "{encoded}");
        let reply = hub.post(&format!("/api/models/wen/toy/branch/{encoded}"), json!({})).await;
        assert_eq!(reply.status, 400, "{encoded}: {}", reply.text());
    }
    assert_eq!(files(hub.root.path()), before);
}
