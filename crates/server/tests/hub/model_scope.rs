//! What `modelscope` says, step by step.

use crate::client::{Client, KEY};
use axum::body::Body;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hub::Sha256Digest;
use serde_json::{Value, json};

const BATCH: &str = "/api/v1/repos/models/wen/toy/info/lfs/objects/batch";

fn weights() -> Vec<u8> {
    (0..50_000_u32).flat_map(u32::to_le_bytes).collect()
}

fn normal(path: &str, content: &[u8]) -> Value {
    let content = STANDARD.encode(content);
    json!({"action": "create", "path": path, "type": "normal", "size": 1, "sha256": "", "content": content,
           "encoding": "base64"})
}

fn lfs(path: &str, content: &[u8]) -> Value {
    let sha256 = Sha256Digest::of(content).to_string();
    json!({"action": "create", "path": path, "type": "lfs", "size": content.len(), "sha256": sha256, "content": "",
           "encoding": ""})
}

async fn filled() -> Client {
    let hub = Client::member();
    let create =
        json!({"Path": "wen", "Name": "toy", "ChineseName": null, "Visibility": 5, "License": "apache-2.0"});
    assert_eq!(hub.post("/api/v1/models", create.clone()).await.value()["Code"], 200);
    assert_eq!(hub.post("/api/v1/models", create).await.status, 409);
    let sent = hub.upload(BATCH, &weights()).await.value();
    assert_eq!((&sent["Code"], &sent["Success"]), (&json!(200), &json!(true)));
    let actions = json!([
        normal("config.json", b"{}\n"),
        normal("sub/file.txt", b"text\n"),
        lfs("model.safetensors", &weights())
    ]);
    // older clients send JSON that they do not call so
    let body = json!({"commit_message": "first", "actions": actions}).to_string();
    let committed = hub.send("POST", "/api/v1/repos/models/wen/toy/commit/master", &[], body).await;
    assert_eq!(committed.value()["Data"]["oid"].as_str().map(str::len), Some(40), "{}", committed.text());
    hub
}

#[tokio::test]
async fn a_login_gives_the_cookie_that_later_requests_carry() {
    let guest = Client::new(&[KEY], false);
    let login = guest.post("/api/v1/login", json!({"AccessToken": KEY})).await;
    assert_eq!(login.value()["Data"], json!({"AccessToken": KEY, "Username": "wen", "Email": ""}));
    let cookie = login.header("set-cookie").unwrap();
    assert!(cookie.starts_with("m_session_id=sk-right; ") && cookie.contains("HttpOnly"), "{cookie}");
    let cookie = [("cookie", cookie.split(';').next().unwrap())];
    let me = guest.send("GET", "/openapi/v1/users/me", &cookie, Body::empty()).await.value();
    assert_eq!(me["data"]["username"], "wen");
    let wrong = guest.post("/api/v1/login", json!({"AccessToken": "sk-wrong"})).await;
    assert_eq!((wrong.status, wrong.header("set-cookie")), (401, None));
    assert_eq!(wrong.value()["Success"], false);
    assert_eq!(guest.get("/openapi/v1/users/me").await.status, 401);
}

#[tokio::test]
async fn files_are_listed_with_their_digests() {
    let hub = filled().await;
    let list = async |query: &str| {
        let files = hub.get(&format!("/api/v1/models/wen/toy/repo/files?{query}")).await.value();
        let files = files["Data"]["Files"].as_array().unwrap().clone();
        files.iter().map(|file| file["Path"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(
        list("Revision=master&Recursive=True").await,
        ["config.json", "model.safetensors", "sub", "sub/file.txt"]
    );
    assert_eq!(list("Recursive=False").await, ["config.json", "model.safetensors", "sub"]);
    assert_eq!(list("Revision=main&Recursive=True&Root=sub").await, ["sub/file.txt"]);
    assert_eq!(list("Recursive=True&PageNumber=2&PageSize=3").await, ["sub/file.txt"]);
    assert_eq!(list("Recursive=True&PageNumber=9&PageSize=3").await, [""; 0]);
    let files = hub.get("/api/v1/models/wen/toy/repo/files?Recursive=True").await.value();
    let weights_entry = &files["Data"]["Files"][1];
    assert_eq!(weights_entry["Sha256"], Sha256Digest::of(&weights()).to_string());
    assert_eq!((&weights_entry["Size"], &weights_entry["IsLFS"]), (&json!(200_000), &json!(true)));
    assert_eq!(files["Data"]["Files"][2]["Type"], "tree");
    assert_eq!(hub.get("/api/v1/models/wen/toy/repo/files?Root=none").await.status, 404);
    assert_eq!(hub.get("/api/v1/models/wen/toy/repo/files?Revision=none").await.status, 404);
}

#[tokio::test]
async fn files_are_downloaded_whole_and_in_ranges() {
    let hub = filled().await;
    let path = "/api/v1/models/wen/toy/repo?Revision=master&FilePath=model.safetensors";
    let whole = hub.get(path).await;
    assert_eq!(whole.body, weights());
    assert_eq!(whole.header("x-linked-etag"), Some(format!("\"{}\"", Sha256Digest::of(&weights())).as_str()));
    let part = hub.range(path, "bytes=199990-199999").await;
    assert_eq!((part.status, part.header("content-range")), (206, Some("bytes 199990-199999/200000")));
    assert_eq!(hub.get("/api/v1/models/wen/toy/repo?FilePath=sub%2Ffile.txt").await.body, "text\n");
    assert_eq!(hub.get("/api/v1/models/wen/toy/repo?FilePath=none").await.status, 404);
    assert_eq!(hub.get("/api/v1/models/wen/toy/repo").await.status, 400);
}

#[tokio::test]
async fn what_the_hub_has_is_not_asked_for() {
    let hub = filled().await;
    let objects = json!([{"oid": Sha256Digest::of(&weights()).to_string(), "size": 200_000}]);
    let answer = hub.post(BATCH, json!({"operation": "upload", "objects": objects})).await.value();
    assert_eq!(answer["Data"]["objects"], json!([]));
}

#[tokio::test]
async fn main_is_called_master() {
    let hub = filled().await;
    let revisions =
        async || hub.get("/api/v1/models/wen/toy/revisions").await.value()["Data"]["RevisionMap"].clone();
    assert_eq!(revisions().await["Branches"][0]["Revision"], "master");
    assert_eq!(hub.get("/api/models/wen/toy/refs").await.value()["branches"][0]["name"], "main");
    let tag = json!({"TagName": "v1", "Ref": "master"});
    assert_eq!(hub.post("/api/v1/models/wen/toy/repo/tag", tag.clone()).await.status, 200);
    assert_eq!(hub.post("/api/v1/models/wen/toy/repo/tag", tag).await.status, 409);
    assert_eq!(revisions().await["Tags"][0]["Revision"], "v1");
    // who makes a branch of that name means it
    assert_eq!(hub.post("/api/models/wen/toy/branch/master", json!({})).await.status, 200);
    let deleted =
        hub.send("DELETE", "/api/v1/models/wen/toy/file?FilePath=config.json", &[], Body::empty()).await;
    assert_eq!(deleted.status, 200, "{}", deleted.text());
    assert_eq!(hub.get("/wen/toy/resolve/master/config.json").await.status, 404);
    assert_eq!(hub.get("/wen/toy/resolve/main/config.json").await.status, 200);
    let commits = hub.get("/api/v1/models/wen/toy/commits?PageSize=1").await.value();
    assert_eq!(commits["Data"]["Commit"][0]["Title"], "Delete config.json");
}

#[tokio::test]
async fn repositories_are_described_and_listed() {
    let hub = filled().await;
    let info = hub.get("/api/v1/models/wen/toy").await.value();
    assert_eq!((&info["Data"]["Name"], &info["Data"]["Visibility"]), (&json!("toy"), &json!(5)));
    let info = hub.get("/openapi/v1/models/wen/toy").await.value();
    assert_eq!((&info["data"]["id"], &info["data"]["private"]), (&json!("wen/toy"), &json!(false)));
    assert_eq!(hub.get("/openapi/v1/models/wen/none").await.status, 404);
    let listed = hub.get("/openapi/v1/models?search=to&page_size=5").await.value();
    assert_eq!(
        (&listed["data"]["total_count"], &listed["data"]["models"][0]["id"]),
        (&json!(1), &json!("wen/toy"))
    );
    let listed =
        hub.json("PUT", "/api/v1/models/", json!({"Path": "wen", "PageNumber": 1, "PageSize": 10})).await;
    assert_eq!(listed.value()["Data"]["Models"][0]["Name"], "toy");
    let hidden = hub.json("PUT", "/api/v1/models/wen/toy", json!({"Visibility": 1})).await;
    assert_eq!(hidden.value()["Data"]["Visibility"], 1);
    assert_eq!(hub.send("DELETE", "/api/v1/models/wen/toy", &[], Body::empty()).await.status, 200);
    assert_eq!(hub.get("/api/v1/models/wen/toy").await.status, 404);
}

#[tokio::test]
async fn datasets_are_made_from_a_form() {
    let hub = Client::member();
    let field = |name: &str, value: &str| {
        format!("--X\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let form =
        [field("Owner", "wen"), field("Name", "data"), field("Visibility", "5"), "--X--\r\n".to_owned()]
            .concat();
    let header = [("content-type", "multipart/form-data; boundary=X")];
    let made = hub.send("POST", "/api/v1/datasets", &header, form.clone()).await;
    assert_eq!(made.value()["Data"]["Id"], "wen/data", "{}", made.text());
    assert_eq!(hub.send("POST", "/api/v1/datasets", &[], form).await.status, 400, "without its boundary");
    let body = json!({"commit_message": "data", "actions": [normal("a.jsonl", b"{}")]});
    assert_eq!(hub.post("/api/v1/repos/datasets/wen/data/commit/master", body).await.status, 200);
    let tree =
        hub.get("/api/v1/datasets/wen/data/repo/tree?Recursive=True&PageNumber=1&PageSize=200").await.value();
    assert_eq!(tree["Data"]["Files"][0]["Path"], "a.jsonl");
    assert_eq!(hub.get("/api/v1/datasets/wen/data/repo?FilePath=a.jsonl").await.body, "{}");
    assert_eq!(hub.get("/api/v1/datasets?owner=wen").await.value()["TotalCount"], 1);
}

#[tokio::test]
async fn a_commit_that_cannot_be_made_says_why() {
    let hub = filled().await;
    let path = "/api/v1/repos/models/wen/toy/commit/master";
    for (what, status, action) in [
        ("content that was never sent", 400, lfs("x.bin", b"never sent")),
        ("a path that climbs out", 400, normal("../x", b"x")),
        ("an unknown action", 400, json!({"action": "rename", "path": "x"})),
        ("a file that isn't there", 404, json!({"action": "delete", "path": "none"})),
    ] {
        let refused = hub.post(path, json!({"commit_message": "m", "actions": [action]})).await;
        assert_eq!(refused.status, status, "{what}: {}", refused.text());
        assert_eq!(refused.value()["Success"], false);
    }
    let elsewhere = hub.post("/api/v1/repos/models/wen/toy/commit/other", json!({"actions": []})).await;
    assert_eq!(elsewhere.status, 404);
}
