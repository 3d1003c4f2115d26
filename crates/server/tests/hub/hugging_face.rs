//! What `huggingface_hub` and `transformers` say, step by step.

use crate::client::{Client, file, large};
use axum::body::Body;
use hub::{GitDigest, Sha256Digest};
use serde_json::{Value, json};

const SMALL: &[u8] = b"{\"model_type\": \"toy\"}\n";

fn weights() -> Vec<u8> {
    (0..100_000_u32).flat_map(u32::to_le_bytes).collect()
}

async fn filled() -> Client {
    let hub = Client::member();
    hub.model("toy", true, &[("config.json", SMALL), ("sub dir/file.txt", b"text\n")]).await;
    assert_eq!(hub.upload("/wen/toy.git/info/lfs/objects/batch", &weights()).await.status, 200);
    let committed =
        hub.commit("/api/models/wen/toy/commit/main", &[large("model.safetensors", &weights())]).await;
    assert_eq!(committed.status, 200, "{}", committed.text());
    hub
}

#[tokio::test]
async fn a_repository_is_made_once() {
    let hub = Client::member();
    let who = hub.get("/api/whoami-v2").await.value();
    assert_eq!((&who["name"], &who["type"]), (&json!("wen"), &json!("user")));
    let create = json!({"name": "toy", "organization": null, "type": "model", "visibility": "public"});
    let made = hub.post("/api/repos/create", create.clone()).await;
    assert_eq!(made.value()["url"], "http://localhost:8000/wen/toy");
    let again = hub.post("/api/repos/create", create).await;
    assert_eq!((again.status, &again.value()["url"]), (409, &json!("http://localhost:8000/wen/toy")));
    let other_case = hub.post("/api/repos/create", json!({"name": "Toy"})).await;
    assert_eq!(other_case.status, 409, "names that differ only in case are one name to some file systems");
    let info = hub.get("/api/models/wen/toy").await.value();
    assert_eq!(
        (&info["id"], &info["private"], &info["siblings"]),
        (&json!("wen/toy"), &json!(false), &json!([]))
    );
    assert_eq!(info["sha"].as_str().map(str::len), Some(40), "a new repository has a commit");
    let quiet = hub.post("/api/repos/create", json!({"name": "quiet", "organization": "team"})).await;
    assert_eq!(quiet.status, 200);
    assert_eq!(
        hub.get("/api/models/team/quiet").await.value()["private"],
        true,
        "private unless said otherwise"
    );
    let deleted =
        hub.json("DELETE", "/api/repos/delete", json!({"name": "toy", "organization": "wen"})).await;
    assert_eq!(deleted.status, 200);
    assert_eq!(hub.get("/api/models/wen/toy").await.refusal(), (404, Some("RepoNotFound")));
    let again = hub.json("DELETE", "/api/repos/delete", json!({"name": "toy", "organization": "wen"})).await;
    assert_eq!(again.refusal(), (404, Some("RepoNotFound")));
}

#[tokio::test]
async fn what_was_committed_is_described_and_listed() {
    let hub = filled().await;
    let info = hub.get("/api/models/wen/toy?blobs=true").await.value();
    let siblings = info["siblings"].as_array().unwrap();
    let find = |path: &str| siblings.iter().find(|file| file["rfilename"] == path).unwrap();
    assert_eq!(find("config.json")["blobId"], GitDigest::of(SMALL).to_string());
    assert_eq!(find("config.json")["size"], SMALL.len());
    let digest = Sha256Digest::of(&weights());
    assert_eq!(find("model.safetensors")["lfs"]["sha256"], digest.to_string());
    assert_eq!(find("model.safetensors")["lfs"]["pointerSize"], 131);
    assert_eq!(find("model.safetensors")["blobId"], GitDigest::of_lfs_pointer(&digest, 400_000).to_string());

    let paths = |value: Value| -> Vec<String> {
        value.as_array().unwrap().iter().map(|entry| entry["path"].as_str().unwrap().to_owned()).collect()
    };
    let tree = hub.get("/api/models/wen/toy/tree/main").await.value();
    assert_eq!(paths(tree), ["config.json", "model.safetensors", "sub dir"]);
    let tree = hub.get("/api/models/wen/toy/tree/main?recursive=True").await.value();
    assert_eq!(tree[1]["lfs"]["oid"], digest.to_string());
    assert_eq!(tree[2]["type"], "directory");
    assert_eq!(paths(tree), ["config.json", "model.safetensors", "sub dir", "sub dir/file.txt"]);
    let folder = hub.get("/api/models/wen/toy/tree/main/sub%20dir").await.value();
    assert_eq!(paths(folder), ["sub dir/file.txt"]);
    let absent = hub.get("/api/models/wen/toy/tree/main/additional_chat_templates").await;
    assert_eq!(absent.refusal(), (404, Some("EntryNotFound")));

    let form = "paths=config.json&paths=sub+dir&paths=nothing&paths=..%2Fup&expand=False";
    let header = [("content-type", "application/x-www-form-urlencoded")];
    let found = hub.send("POST", "/api/models/wen/toy/paths-info/main", &header, form).await.value();
    assert_eq!(paths(found), ["config.json", "sub dir"]);
    let found =
        hub.post("/api/models/wen/toy/paths-info/main", json!({"paths": ["config.json"]})).await.value();
    assert_eq!(paths(found), ["config.json"]);

    let listed = hub.get("/api/models?search=TOY&limit=5&full=True").await.value();
    assert_eq!(
        (&listed[0]["id"], listed[0]["siblings"].as_array().map(Vec::len)),
        (&json!("wen/toy"), Some(3))
    );
    assert_eq!(hub.get("/api/models?author=nobody").await.value(), json!([]));
    assert_eq!(hub.get("/api/datasets").await.value(), json!([]));
}

#[tokio::test]
async fn files_are_known_by_their_headers() {
    let hub = filled().await;
    let commit = hub.get("/api/models/wen/toy").await.value()["sha"].as_str().unwrap().to_owned();
    let path = "/wen/toy/resolve/main/model.safetensors";
    let head = hub.head(path).await;
    let digest = format!("\"{}\"", Sha256Digest::of(&weights()));
    assert_eq!((head.status, head.body.len()), (200, 0));
    for (name, expected) in [
        ("etag", digest.as_str()),
        ("x-linked-etag", &digest),
        ("x-linked-size", "400000"),
        ("content-length", "400000"),
        ("accept-ranges", "bytes"),
        ("x-repo-commit", &commit),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(head.header(name), Some(expected), "{name}");
    }
    let small = hub.head(&format!("/wen/toy/resolve/{commit}/sub%20dir%2Ffile.txt")).await;
    let oid = format!("\"{}\"", GitDigest::of(b"text\n"));
    assert_eq!((small.status, small.header("etag")), (200, Some(oid.as_str())));

    assert_eq!(hub.get(path).await.body, weights());
    let part = hub.range(path, "bytes=1000-1999").await;
    assert_eq!((part.status, part.header("content-range")), (206, Some("bytes 1000-1999/400000")));
    assert_eq!(part.body, weights()[1000..2000]);
    assert_eq!(hub.range(path, "bytes=-5").await.body, weights()[399_995..]);
    let beyond = hub.range(path, "bytes=400000-").await;
    assert_eq!((beyond.status, beyond.header("content-range")), (416, Some("bytes */400000")));

    let again = hub.send("GET", path, &[("if-none-match", &digest)], Body::empty()).await;
    assert_eq!((again.status, again.body.len(), again.header("etag")), (304, 0, Some(digest.as_str())));
    let other = [("range", "bytes=0-9"), ("if-range", "\"another\"")];
    let whole = hub.send("GET", path, &other, Body::empty()).await;
    assert_eq!((whole.status, whole.body.len()), (200, 400_000), "a range of another version is of no use");
    let same = [("range", "bytes=0-9"), ("if-range", digest.as_str())];
    assert_eq!(hub.send("GET", path, &same, Body::empty()).await.status, 206);
}

#[tokio::test]
async fn what_is_missing_is_named_by_its_kind() {
    let hub = filled().await;
    let file = hub.head("/wen/toy/resolve/main/adapter_config.json").await;
    assert_eq!(file.refusal(), (404, Some("EntryNotFound")));
    assert_eq!(file.header("x-repo-commit").map(str::len), Some(40), "clients remember it by the commit");
    for (path, code) in [
        ("/wen/toy/resolve/no-such-branch/config.json", "RevisionNotFound"),
        ("/wen/toy/resolve/0123456789012345678901234567890123456789/config.json", "RevisionNotFound"),
        ("/wen/toy/resolve/a..b/config.json", "RevisionNotFound"),
        ("/wen/none/resolve/main/config.json", "RepoNotFound"),
        ("/datasets/wen/toy/resolve/main/config.json", "RepoNotFound"),
        ("/api/models/wen/toy/revision/refs%2Fpr%2F1", "RevisionNotFound"),
        ("/api/models/wen/none", "RepoNotFound"),
        ("/api/models/wen/none/tree/main", "RepoNotFound"),
        ("/api/models/wen/none/refs", "RepoNotFound"),
        ("/api/spaces/wen/toy", "RepoNotFound"),
    ] {
        assert_eq!(hub.get(path).await.refusal(), (404, Some(code)), "{path}");
    }
}

#[tokio::test]
async fn a_commit_changes_what_its_lines_say() {
    let hub = filled().await;
    let first = hub.get("/api/models/wen/toy").await.value()["sha"].clone();
    let lines = [
        file("notes.txt", b"v2\n"),
        file("empty", b""),
        json!({"key": "deletedFolder", "value": {"path": "sub dir/"}}),
        json!({"key": "copyFile", "value": {"path": "copy.safetensors", "srcPath": "model.safetensors"}}),
        json!({"key": "deletedFile", "value": {"path": "model.safetensors"}}),
    ];
    let committed = hub.commit("/api/models/wen/toy/commit/main", &lines).await.value();
    let second = committed["commitOid"].as_str().unwrap();
    assert_eq!(committed["commitUrl"], format!("http://localhost:8000/wen/toy/commit/{second}"));
    let tree = hub.get("/api/models/wen/toy/tree/main?recursive=true").await.value();
    let paths: Vec<&str> =
        tree.as_array().unwrap().iter().map(|entry| entry["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["config.json", "copy.safetensors", "empty", "notes.txt"]);
    assert_eq!(hub.get("/wen/toy/resolve/main/copy.safetensors").await.body, weights());
    assert_eq!(hub.get("/wen/toy/resolve/main/empty").await.body, "");
    let before = format!("/wen/toy/resolve/{}/notes.txt", first.as_str().unwrap());
    assert_eq!(hub.get(&before).await.refusal(), (404, Some("EntryNotFound")));

    let commits = hub.get("/api/models/wen/toy/commits/main").await.value();
    assert_eq!((&commits[0]["id"], &commits[1]["id"]), (&json!(second), &first));
    assert_eq!((&commits[0]["title"], &commits[0]["message"]), (&json!("change"), &json!("why")));
    assert!(commits[0]["date"].as_str().is_some_and(|date| date.ends_with(".000Z")), "{commits}");
}

#[tokio::test]
async fn a_commit_that_cannot_be_made_changes_nothing() {
    let hub = filled().await;
    let path = "/api/models/wen/toy/commit/main";
    let before = hub.get("/api/models/wen/toy").await.value()["sha"].clone();
    let header = |parent: &str| json!({"key": "header", "value": {"summary": "s", "parentCommit": parent}});
    let fine = file("new.txt", b"new");
    let cases: Vec<(&str, u16, Vec<Value>)> = vec![
        ("content that was never sent", 400, vec![fine.clone(), large("x.bin", b"never sent")]),
        ("a path that climbs out", 400, vec![fine.clone(), file("../x", b"x")]),
        ("a file and a folder at once", 400, vec![file("config.json/x", b"x")]),
        ("a file that isn't there", 404, vec![json!({"key": "deletedFile", "value": {"path": "none"}})]),
        ("a digest that is none", 400, vec![json!({"key": "lfsFile", "value": {"path": "x", "oid": "zz"}})]),
        (
            "no Base64",
            400,
            vec![json!({"key": "file", "value": {"path": "x", "content": "?", "encoding": "base64"}})],
        ),
        (
            "another encoding",
            400,
            vec![json!({"key": "file", "value": {"path": "x", "content": "", "encoding": "x"}})],
        ),
        ("an unknown change", 400, vec![json!({"key": "rename", "value": {"path": "x"}})]),
        ("a parent from before", 412, vec![header("0123456789012345678901234567890123456789"), fine.clone()]),
    ];
    for (what, status, lines) in cases {
        let refused = hub.commit(path, &lines).await;
        assert_eq!(refused.status, status, "{what}: {}", refused.text());
        assert_eq!(hub.get("/api/models/wen/toy").await.value()["sha"], before, "{what}");
    }
    let headless = hub.send("POST", path, &[], fine.to_string()).await;
    assert_eq!(headless.status, 400, "{}", headless.text());
    let elsewhere = hub.commit("/api/models/wen/toy/commit/other", std::slice::from_ref(&fine)).await;
    assert_eq!(elsewhere.refusal(), (404, Some("RevisionNotFound")));
    let pull_request = hub.commit(&format!("{path}?create_pr=1"), std::slice::from_ref(&fine)).await;
    assert_eq!(pull_request.status, 501);
    let right = hub.commit(path, &[header(before.as_str().unwrap()), fine]).await;
    assert_eq!(right.status, 200, "{}", right.text());
}

#[tokio::test]
async fn what_is_large_is_sent_apart() {
    let hub = filled().await;
    let zeroes = "AAAAAAAA";
    let request = json!({"files": [
        {"path": "config.json", "sample": "e30=", "size": 2},
        {"path": "new.safetensors", "sample": "e30=", "size": 2},
        {"path": "data.xyz", "sample": zeroes, "size": 6},
        {"path": "long.txt", "sample": "e30=", "size": 20_000_000},
    ]});
    let modes = hub.post("/api/models/wen/toy/preupload/main", request).await.value();
    let mode = |at: usize| modes["files"][at]["uploadMode"].as_str().unwrap().to_owned();
    assert_eq!([mode(0), mode(1), mode(2), mode(3)], ["regular", "lfs", "lfs", "lfs"]);
    assert_eq!(
        modes["files"][0]["oid"],
        GitDigest::of(SMALL).to_string(),
        "what the branch has is not sent again"
    );
    assert_eq!(modes["files"][1]["oid"], Value::Null);

    let batch = |objects: Value| {
        let body = json!({"operation": "upload", "transfers": ["basic", "multipart"], "objects": objects});
        let hub = hub.clone();
        async move { hub.post("/wen/toy.git/info/lfs/objects/batch", body).await.value()["objects"].clone() }
    };
    let known = Sha256Digest::of(&weights()).to_string();
    let fresh = Sha256Digest::of(b"fresh").to_string();
    let objects = batch(json!([
        {"oid": known, "size": 400_000},
        {"oid": known, "size": 3},
        {"oid": "no digest", "size": 3},
        {"oid": fresh, "size": 5},
        {"oid": fresh, "size": u64::MAX},
    ]))
    .await;
    assert!(objects[0].get("actions").is_none(), "it is here already");
    for refused in [1, 2, 4] {
        assert!(objects[refused]["error"]["code"].is_u64(), "{}", objects[refused]);
    }
    let verify = objects[3]["actions"]["verify"]["href"].as_str().unwrap();
    let verify = verify.strip_prefix("http://localhost:8000").unwrap();
    let object = json!({"oid": fresh, "size": 5});
    assert_eq!(hub.post(verify, object.clone()).await.status, 400, "it has not come yet");
    assert_eq!(hub.upload("/wen/toy.git/info/lfs/objects/batch", b"fresh").await.status, 200);
    assert_eq!(hub.post(verify, object).await.status, 200);
}

#[tokio::test]
async fn an_upload_is_what_was_announced() {
    let hub = Client::member();
    hub.model("toy", true, &[]).await;
    let oid = Sha256Digest::of(b"right").to_string();
    let body = json!({"operation": "upload", "objects": [{"oid": oid, "size": 5}]});
    let answer = hub.post("/wen/toy.git/info/lfs/objects/batch", body).await.value();
    let address = answer["objects"][0]["actions"]["upload"]["href"].as_str().unwrap().to_owned();
    let path = address.strip_prefix("http://localhost:8000").unwrap().to_owned();
    let guest = hub.with_key(None);
    let stream = |pieces: &'static [&'static str]| {
        Body::from_stream(futures::stream::iter(pieces.iter().map(|piece| Ok::<_, std::io::Error>(*piece))))
    };
    for (what, status, headers, content) in [
        ("another content", 400, vec![], Body::from("wrong")),
        ("too little", 400, vec![], stream(&["rig", "h"])),
        ("too much", 413, vec![], stream(&["right", "!"])),
        ("another length", 400, vec![("content-length", "6")], Body::from("right!")),
    ] {
        let refused = guest.send("PUT", &path, &headers, content).await;
        assert_eq!(refused.status, status, "{what}: {}", refused.text());
    }
    for forged in
        [path.replace("size=5", "size=6"), path.replace("signature=", "signature=0"), path[..80].to_owned()]
    {
        assert_eq!(guest.send("PUT", &forged, &[], "right").await.status, 403, "{forged}");
    }
    assert_eq!(hub.get("/api/models/wen/toy").await.status, 200);
    assert_eq!(guest.send("PUT", &path, &[], stream(&["ri", "ght"])).await.status, 200);
    assert_eq!(guest.send("PUT", &path, &[], "right").await.status, 200, "once more does no harm");
    let complete = guest.send("POST", &path, &[], "{}").await;
    assert_eq!(complete.status, 403, "an address for a whole file completes nothing");
}

#[tokio::test]
async fn branches_and_tags_come_and_go() {
    let hub = filled().await;
    let sha = hub.get("/api/models/wen/toy").await.value()["sha"].clone();
    assert_eq!(hub.post("/api/models/wen/toy/branch/try%2Fone", json!({})).await.status, 200);
    assert_eq!(hub.post("/api/models/wen/toy/branch/try%2Fone", json!({})).await.status, 409);
    assert_eq!(
        hub.post("/api/models/wen/toy/tag/main", json!({"tag": "v1", "message": "first"})).await.status,
        200
    );
    assert_eq!(hub.post("/api/models/wen/toy/tag/main", json!({"tag": "v1"})).await.status, 409);
    let start = json!({"startingPoint": "v1"});
    assert_eq!(hub.post("/api/models/wen/toy/branch/from-tag", start).await.status, 200);
    let changed = hub.commit("/api/models/wen/toy/commit/try%2Fone", &[file("a", b"a")]).await;
    assert_eq!(changed.status, 200, "{}", changed.text());
    assert_eq!(hub.get("/wen/toy/resolve/try%2Fone/a").await.body, "a");
    assert_eq!(hub.get("/wen/toy/resolve/v1/a").await.status, 404);

    let refs = hub.get("/api/models/wen/toy/refs").await.value();
    let names: Vec<&str> =
        refs["branches"].as_array().unwrap().iter().map(|b| b["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["from-tag", "main", "try/one"]);
    assert_eq!(refs["tags"], json!([{"name": "v1", "ref": "refs/tags/v1", "targetCommit": sha}]));

    assert_eq!(
        hub.send("DELETE", "/api/models/wen/toy/branch/try%2Fone", &[], Body::empty()).await.status,
        200
    );
    assert_eq!(hub.get("/wen/toy/resolve/try%2Fone/a").await.refusal(), (404, Some("RevisionNotFound")));
    assert_eq!(hub.send("DELETE", "/api/models/wen/toy/tag/v1", &[], Body::empty()).await.status, 200);
    assert_eq!(hub.send("DELETE", "/api/models/wen/toy/tag/v1", &[], Body::empty()).await.status, 404);
    assert_eq!(hub.send("DELETE", "/api/models/wen/toy/branch/main", &[], Body::empty()).await.status, 400);
}

#[tokio::test]
async fn a_card_is_checked_and_shown() {
    let hub = Client::member();
    let check = async |content: &str| {
        hub.post("/api/validate-yaml", json!({"content": content, "repoType": "model"})).await
    };
    assert_eq!(check("---\nlicense: mit\n---\n# Toy").await.value(), json!({"errors": [], "warnings": []}));
    assert_eq!(check("# Toy").await.value()["warnings"].as_array().map(Vec::len), Some(1));
    let broken = check("---\na: [1\n---\n").await;
    assert_eq!((broken.status, broken.value()["errors"].as_array().map(Vec::len)), (400, Some(1)));
    let card = b"---\nlicense: mit\nbase_model: Qwen/Qwen3-0.6B\ntags: [toy]\nlibrary_name: transformers\n---\n# Toy\n";
    hub.model("toy", true, &[("README.md", card)]).await;
    let info = hub.get("/api/models/wen/toy").await.value();
    assert_eq!(info["tags"], json!(["toy", "transformers", "license:mit", "base_model:Qwen/Qwen3-0.6B"]));
    assert_eq!(
        (&info["cardData"]["license"], &info["library_name"]),
        (&json!("mit"), &json!("transformers"))
    );
}

#[tokio::test]
async fn models_are_listed_by_what_their_cards_say() {
    let hub = Client::member();
    let card = |text: &str| format!("---\n{text}\n---\n# Toy\n").into_bytes();
    let texts = card(
        "license: mit\nlanguage: [zh, en]\npipeline_tag: text-generation\ndatasets: [me/notes]\ntags: 7\nself: 1",
    );
    let adapter = card("library_name: peft\nlanguage: zh\npipeline_tag: text-generation");
    hub.model("texts", true, &[("README.md", &texts)]).await;
    hub.model("adapter", true, &[("README.md", &adapter)]).await;
    hub.model("bare", true, &[("a.gguf", b"a")]).await;
    for (query, expected) in [
        ("", &["wen/adapter", "wen/bare", "wen/texts"][..]),
        ("filter=gguf", &["wen/bare"]),
        ("pipeline_tag=zh", &[]),
        ("filter=zh", &["wen/adapter", "wen/texts"]),
        ("filter=ZH&filter=en", &["wen/texts"]),
        ("filter=peft", &["wen/adapter"]),
        ("filter=license:mit&full=true", &["wen/texts"]),
        ("filter=dataset:me/notes", &["wen/texts"]),
        ("pipeline_tag=text-generation&limit=1&sort=createdAt", &["wen/adapter"]),
        ("filter=nothing", &[]),
    ] {
        let list = hub.get(&format!("/api/models?{query}")).await.value();
        let names: Vec<&str> =
            list.as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
        assert_eq!(names, expected, "{query}");
        let any = |key: &str| list.as_array().unwrap().iter().any(|model| !model[key].is_null());
        assert_eq!(
            (any("siblings"), any("cardData")),
            [(false, false), (true, true)][usize::from(query.contains("full"))]
        );
    }
    let many = vec!["filter=a"; 33].join("&");
    assert_eq!(hub.get(&format!("/api/models?{many}")).await.status, 400);
    // clients iterate over tags, and pass everything to a function of theirs
    let list = hub.get("/api/models?filter=license:mit&cardData=true").await.value();
    let card = &list[0]["cardData"];
    assert_eq!((&card["license"], &card["tags"], &card["self"]), (&json!("mit"), &Value::Null, &Value::Null));
}

#[tokio::test]
async fn datasets_are_apart_from_models() {
    let hub = Client::member();
    let made = hub.post("/api/repos/create", json!({"name": "data", "type": "dataset"})).await.value();
    assert_eq!(made["url"], "http://localhost:8000/datasets/wen/data");
    assert_eq!(hub.upload("/datasets/wen/data.git/info/lfs/objects/batch", &weights()).await.status, 200);
    let lines = [file("train.jsonl", b"{}\n"), large("train.parquet", &weights())];
    let committed = hub.commit("/api/datasets/wen/data/commit/main", &lines).await.value();
    assert!(committed["commitUrl"].as_str().unwrap().contains("/datasets/wen/data/commit/"), "{committed}");
    assert_eq!(hub.get("/datasets/wen/data/resolve/main/train.jsonl").await.body, "{}\n");
    assert_eq!(hub.get("/api/datasets/wen/data").await.value()["id"], "wen/data");
    assert_eq!(hub.get("/wen/data/resolve/main/train.jsonl").await.refusal(), (404, Some("RepoNotFound")));
    assert_eq!(hub.get("/api/models/wen/data").await.refusal(), (404, Some("RepoNotFound")));
}
