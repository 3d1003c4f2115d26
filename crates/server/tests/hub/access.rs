//! Who may see and change what.

use crate::client::{Client, KEY, Reply};
use serde_json::json;

/// Every way to read something of `wen/NAME`.
fn reading(name: &str) -> Vec<(&'static str, String)> {
    let api = format!("/api/models/wen/{name}");
    let v1 = format!("/api/v1/models/wen/{name}");
    [
        ("GET", api.clone()),
        ("GET", format!("{api}?blobs=true")),
        ("GET", format!("{api}/revision/main")),
        ("GET", format!("{api}/revision/none")),
        ("GET", format!("{api}/tree/main")),
        ("GET", format!("{api}/tree/main/secret.txt")),
        ("GET", format!("{api}/refs")),
        ("GET", format!("{api}/commits/main")),
        ("GET", format!("{api}/auth-check")),
        ("POST", format!("{api}/paths-info/main")),
        ("GET", format!("/wen/{name}/resolve/main/secret.txt")),
        ("HEAD", format!("/wen/{name}/resolve/main/secret.txt")),
        ("GET", format!("/wen/{name}/resolve/main/none.txt")),
        ("GET", format!("/wen/{name}/resolve/none/secret.txt")),
        ("GET", v1.clone()),
        ("GET", format!("/openapi/v1/models/wen/{name}")),
        ("GET", format!("{v1}/repo/files")),
        ("GET", format!("{v1}/repo?FilePath=secret.txt")),
        ("GET", format!("{v1}/repo?FilePath=none.txt")),
        ("GET", format!("{v1}/revisions")),
        ("GET", format!("{v1}/commits")),
    ]
    .into()
}

/// Every way to change something of `wen/NAME`, or to make it.
fn writing(name: &str) -> Vec<(&'static str, String)> {
    let api = format!("/api/models/wen/{name}");
    let v1 = format!("/api/v1/models/wen/{name}");
    [
        ("POST", "/api/repos/create".to_owned()),
        ("DELETE", "/api/repos/delete".to_owned()),
        ("PUT", format!("{api}/settings")),
        ("POST", format!("{api}/branch/b")),
        ("DELETE", format!("{api}/branch/b")),
        ("POST", format!("{api}/tag/main")),
        ("DELETE", format!("{api}/tag/t")),
        ("POST", format!("{api}/preupload/main")),
        ("POST", format!("{api}/commit/main")),
        ("POST", format!("/wen/{name}.git/info/lfs/objects/batch")),
        ("POST", format!("/datasets/wen/{name}.git/info/lfs/objects/batch")),
        ("POST", "/api/lfs/verify".to_owned()),
        ("POST", "/api/validate-yaml".to_owned()),
        ("POST", "/api/v1/models".to_owned()),
        ("PUT", v1.clone()),
        ("DELETE", v1.clone()),
        ("POST", format!("{v1}/repo/tag")),
        ("DELETE", format!("{v1}/file?FilePath=secret.txt")),
        ("DELETE", format!("{v1}/repo?FilePath=secret.txt")),
        ("POST", format!("/api/v1/repos/models/wen/{name}/info/lfs/objects/batch")),
        ("POST", format!("/api/v1/repos/models/wen/{name}/commit/master")),
    ]
    .into()
}

/// A body that every writing route can parse.
const BODY: &str = r#"{"name": "new", "Path": "wen", "Name": "new", "private": true, "Visibility": 1, "tag": "t", "TagName": "t", "files": [], "operation": "upload", "objects": [], "oid": "00", "size": 1, "actions": [], "content": ""}"#;

async fn ask(client: &Client, method: &str, path: &str) -> Reply {
    client.send(method, path, &[], if method == "GET" || method == "HEAD" { "" } else { BODY }).await
}

async fn with_repositories(keys: &[&str], anonymous: bool) -> Client {
    let hub = Client::new(keys, anonymous);
    let owner = hub.with_key(keys.first().copied());
    owner.model("private", true, &[("secret.txt", b"secret")]).await;
    owner.model("public", false, &[("secret.txt", b"open")]).await;
    hub
}

/// What a reply says, without what it repeats of the request.
fn said(reply: &Reply, name: &str) -> (u16, Vec<(String, String)>, String) {
    let plain = |text: &str| text.replace(name, "NAME");
    let headers = reply.headers.iter().filter(|(header, _)| *header != "x-request-id");
    let headers =
        headers.map(|(header, value)| (header.to_string(), plain(value.to_str().unwrap()))).collect();
    (reply.status, headers, plain(&reply.text()))
}

#[tokio::test]
async fn without_a_key_private_and_absent_look_the_same() {
    for anonymous in [false, true] {
        let guest = with_repositories(&[KEY], anonymous).await;
        for ((method, private), (_, absent)) in reading("private").into_iter().zip(reading("nowhere")) {
            let (hidden, missing) = (ask(&guest, method, &private).await, ask(&guest, method, &absent).await);
            assert_eq!(hidden.status, 401, "{method} {private}");
            assert_eq!(said(&hidden, "private"), said(&missing, "nowhere"), "{method} {private}");
        }
    }
}

#[tokio::test]
async fn without_a_key_public_is_read_where_the_operator_allows_it() {
    for (anonymous, readable) in [(false, false), (true, true)] {
        let guest = with_repositories(&[KEY], anonymous).await;
        for (method, path) in reading("public") {
            let status = ask(&guest, method, &path).await.status;
            // a file or revision that isn't there is said so to who may know
            let expected = if readable { [200, 404] } else { [401, 401] };
            assert!(expected.contains(&status), "{method} {path}: {status}");
        }
        let lists = ["/api/models", "/openapi/v1/models"];
        for list in lists {
            let reply = guest.get(list).await;
            assert_eq!(reply.status, if readable { 200 } else { 401 }, "{list}");
            assert_eq!(reply.text().contains("wen/public"), readable, "{list}");
            assert!(!reply.text().contains("wen/private"), "{list}");
        }
    }
}

#[tokio::test]
async fn without_a_key_nothing_is_changed() {
    for anonymous in [false, true] {
        let guest = with_repositories(&[KEY], anonymous).await;
        for name in ["private", "public", "nowhere"] {
            for (method, path) in writing(name) {
                let refused = ask(&guest, method, &path).await;
                assert_eq!(refused.status, 401, "{method} {path}: {}", refused.text());
            }
        }
        let member = guest.with_key(Some(KEY));
        assert_eq!(member.get("/api/models").await.value().as_array().map(Vec::len), Some(2));
        assert_eq!(member.get("/wen/public/resolve/main/secret.txt").await.body, "open");
    }
}

#[tokio::test]
async fn a_wrong_key_is_worse_than_none() {
    let wrong = with_repositories(&[KEY], true).await.with_key(Some("sk-wrong"));
    for (method, path) in reading("public").into_iter().chain(writing("public")) {
        assert_eq!(ask(&wrong, method, &path).await.status, 401, "{method} {path}");
    }
    let whoami = wrong.get("/api/whoami-v2").await;
    assert_eq!(whoami.header("x-error-message"), Some("Invalid credentials in Authorization header"));
}

#[tokio::test]
async fn every_key_opens_everything() {
    let hub = with_repositories(&[KEY, "sk-other"], false).await;
    let other = hub.with_key(Some("sk-other"));
    for name in ["private", "public"] {
        for (method, path) in reading(name) {
            let status = ask(&other, method, &path).await.status;
            assert!([200, 404].contains(&status), "{method} {path}: {status}");
        }
    }
}

#[tokio::test]
async fn a_server_without_keys_belongs_to_who_reaches_it() {
    let hub = with_repositories(&[], false).await;
    assert_eq!(hub.get("/wen/private/resolve/main/secret.txt").await.body, "secret");
    // by its address: a web page that points a name of its own here gets nothing
    let rebound = [("host", "evil.example")];
    for (method, path) in reading("public").into_iter().chain(writing("public")) {
        assert_eq!(hub.send(method, &path, &rebound, BODY).await.status, 403, "{method} {path}");
    }
}

#[tokio::test]
async fn pages_of_other_sites_change_nothing() {
    let hub = with_repositories(&[], false).await;
    for (method, path) in writing("public") {
        let refused = hub.send(method, &path, &[("origin", "http://evil.example")], BODY).await;
        assert_eq!(refused.status, 403, "{method} {path}");
    }
    let own = [("origin", "http://localhost:8000")];
    let made = hub.send("POST", "/api/repos/create", &own, json!({"name": "new"}).to_string()).await;
    assert_eq!(made.status, 200, "{}", made.text());
}

#[tokio::test]
async fn who_may_see_a_repository_can_change() {
    let guest = with_repositories(&[KEY], true).await;
    let member = guest.with_key(Some(KEY));
    let set = async |visibility: &str| {
        let body = json!({"visibility": visibility});
        member.json("PUT", "/api/models/wen/private/settings", body).await.status
    };
    assert_eq!(guest.get("/wen/private/resolve/main/secret.txt").await.status, 401);
    assert_eq!(set("public").await, 200);
    assert_eq!(guest.get("/wen/private/resolve/main/secret.txt").await.body, "secret");
    assert_eq!(set("private").await, 200);
    assert_eq!(guest.get("/wen/private/resolve/main/secret.txt").await.status, 401);
    assert_eq!(set("protected").await, 400);
}
