//! Pulling from and pushing to a hub, also one that misbehaves.

mod test_hub;

use hub::pull::{Plan, PullError, PullOptions, Pulled, find};
use hub::push::{Load, PushOptions, push};
use hub::remote::{Remote, RemoteOptions};
use hub::source::HubSource;
use hub::{Hub, RefName, Repo, Revision, Settings, Sha256Digest, Store, StoreError};
use serde_json::json;
use std::path::Path;
use std::time::Duration;
use test_hub::{Behaviour, COMMIT, Request, TestHub, noise};

const MIB: usize = 1 << 20;

/// Those of every test but the one of silence; a machine that is busy must not look like a hub that is slow.
fn options() -> RemoteOptions {
    let (stall_timeout, first_wait) = (Duration::from_secs(30), Duration::from_millis(1));
    RemoteOptions { token: Some("secret".to_owned()), stall_timeout, first_wait, offline: false }
}

fn repo() -> Repo {
    Repo::model("Qwen/Qwen3-0.6B".parse().unwrap())
}

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(work)
}

/// Pulls into the store in `dir`.
fn pull_with(remote: Remote, dir: &Path) -> Result<Pulled, PullError> {
    let store = Store::open(dir).unwrap();
    run(async {
        let plan = Plan::make(&remote, &repo(), None, &PullOptions::default()).await?;
        plan.run(&store, &remote, &|done, total| assert!(done <= total, "{done} of {total}")).await
    })
}

fn pull(hub: &TestHub, dir: &Path) -> Result<Pulled, PullError> {
    pull_with(Remote::new(&Hub::Url(hub.url.clone()), options())?, dir)
}

fn small_model() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("config.json", b"{}\n".to_vec()),
        ("empty.txt", Vec::new()),
        ("model.safetensors", noise(300_000)),
        ("README.md", b"# hello\n".to_vec()),
        ("pytorch_model.bin", noise(10)),
        ("../escape.json", b"{}".to_vec()),
    ]
}

#[test]
fn files_with_the_same_content_come_once() {
    let dir = tempfile::tempdir().unwrap();
    let same = noise(20 * MIB);
    let names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    let hub = TestHub::start(&[
        ("config.json", b"{}\n".to_vec()),
        (names[0], same.clone()),
        (names[1], same.clone()),
    ]);
    let pulled = pull(&hub, dir.path()).unwrap();
    assert_eq!(pulled.downloaded, 20 * MIB as u64 + 3);
    for name in names {
        assert_eq!(std::fs::read(pulled.snapshot.join(name)).unwrap(), same, "{name}");
    }
}

#[test]
fn what_is_not_all_of_the_asked_hubs_model_is_not_found() {
    let dir = tempfile::tempdir().unwrap();
    let hub = TestHub::start(&small_model());
    let store = Store::open(dir.path()).unwrap();
    let found = |name: &str| find(&store, &HubSource::parse(name, &Settings::default()).unwrap()).unwrap();
    let pulled = pull(&hub, dir.path()).unwrap();
    let name = format!("{}/Qwen/Qwen3-0.6B", hub.url);
    // a file that is loaded with those beside it stands for all of them
    assert_eq!(found(&format!("{name}:model.safetensors")).unwrap().path, pulled.snapshot);
    assert!(found(&format!("{name}:other.safetensors")).is_none());
    // another hub's is refused before anything is downloaded
    let other = TestHub::start(&[("config.json", b"{}\n".to_vec()), ("model.safetensors", noise(9))]);
    let error = pull(&other, dir.path()).unwrap_err();
    assert!(matches!(error, PullError::Store(StoreError::OtherUpstream { .. })), "{error}");
    assert_eq!(other.asked().len(), 1, "only the listing");
    // lost content comes again
    let sha256 = Sha256Digest::of(&noise(300_000));
    let lost = pulled.commit.files.values().find(|file| file.sha256 == sha256).unwrap();
    std::fs::remove_file(store.blob_path(&lost.sha256).unwrap()).unwrap();
    assert!(found(&name).is_none());
    assert_eq!(pull(&hub, dir.path()).unwrap().downloaded, 300_000);
    assert!(found(&name).is_some());
}

#[test]
fn a_model_is_pulled_once_and_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let hub = TestHub::start(&small_model());
    let pulled = pull(&hub, dir.path()).unwrap();
    assert_eq!(pulled.commit.id.to_string(), COMMIT);
    let mut files: Vec<&str> = pulled.commit.files.keys().map(|path| path.as_str()).collect();
    files.sort_unstable();
    assert_eq!(files, ["README.md", "config.json", "empty.txt", "model.safetensors"]);
    assert_eq!(std::fs::read(pulled.snapshot.join("model.safetensors")).unwrap(), noise(300_000));
    assert_eq!(pulled.downloaded, 300_000 + 3 + 8);

    let store = Store::open(dir.path()).unwrap();
    let mut source = HubSource::parse(&format!("{}/Qwen/Qwen3-0.6B", hub.url), &Settings::default()).unwrap();
    let found = find(&store, &source).unwrap().unwrap();
    assert_eq!(found.path, pulled.snapshot);
    source.hub = Hub::HuggingFace;
    assert!(find(&store, &source).unwrap().is_none(), "another hub's model of the same name is another");

    hub.forget();
    let again = pull(&hub, dir.path()).unwrap();
    assert_eq!((again.downloaded, hub.asked().len()), (0, 1), "nothing but the listing is asked for");
}

#[test]
fn modelscope_speaks_its_own_protocol() {
    let dir = tempfile::tempdir().unwrap();
    let hub = TestHub::start(&small_model());
    let remote = Remote::at(&Hub::ModelScope, &hub.url, options()).unwrap();
    let pulled = pull_with(remote, dir.path()).unwrap();
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(pulled.commit.id.to_string(), COMMIT);
    assert_eq!(std::fs::read(pulled.snapshot.join("config.json")).unwrap(), b"{}\n");
    assert_eq!(store.resolve(&repo(), &Revision::main()).unwrap().id, pulled.commit.id);
    let asked = hub.asked();
    assert_eq!(asked[0].path, "/api/v1/models/Qwen/Qwen3-0.6B/repo/files");
    assert_eq!(asked[0].query, "Revision=master&Recursive=True");
    assert_eq!(asked[0].headers["cookie"], "m_session_id=secret");
}

type Behave = Box<dyn Fn(&Request) -> Behaviour + Send + Sync>;

fn always(behaviour: Behaviour) -> Behave {
    Box::new(move |_| behaviour.clone())
}

fn first(times: usize, behaviour: Behaviour) -> Behave {
    Box::new(move |request| if request.before < times { behaviour.clone() } else { Behaviour::Good })
}

/// What the hub does with requests for the weights, and what comes of it: an error with this in it, or nothing wrong.
fn faults() -> Vec<(&'static str, Behave, Result<(), &'static str>)> {
    use Behaviour::{Answer, Hang, Header, OtherBytes, TooMuch, Truncate};
    let answer = |status| Answer(status, "x-test", "1".to_owned(), r#"{"error": "so it is"}"#.to_owned());
    let to = |url: &str| always(Answer(302, "Location", url.to_owned(), String::new()));
    let other_digest = format!("\"{}\"", Sha256Digest::of(b"other"));
    vec![
        ("busy once", first(1, Answer(429, "Retry-After", "0".to_owned(), String::new())), Ok(())),
        ("failing twice", first(2, answer(503)), Ok(())),
        ("broken off once", first(1, Truncate(1_000)), Ok(())),
        ("silent once", first(1, Hang), Ok(())),
        ("without length", always(Header("content-length", String::new())), Ok(())),
        ("always failing", always(answer(500)), Err("answered 500 Internal Server Error: so it is")),
        ("always broken off", always(Truncate(1_000)), Err("broke off")),
        ("silent", always(Hang), Err("next to nothing")),
        (
            "announcing less",
            always(Header("content-length", "299999".to_owned())),
            Err("announces 299999 bytes"),
        ),
        (
            "announcing more",
            always(Header("content-length", "300001".to_owned())),
            Err("announces 300001 bytes"),
        ),
        ("sending more", always(TooMuch), Err("sends more than the 300000 bytes")),
        ("other bytes", always(OtherBytes), Err("other content than was listed")),
        ("another digest", always(Header("etag", other_digest.clone())), Err("changed while")),
        ("another linked digest", always(Header("x-linked-etag", other_digest)), Err("changed while")),
        ("another size", always(Header("x-linked-size", "7".to_owned())), Err("announces 7 bytes")),
        ("another commit", always(Header("x-repo-commit", COMMIT.replace('0', "f"))), Err("changed while")),
        ("unauthorized", always(answer(401)), Err("with this token")),
        ("forbidden", always(answer(403)), Err("with this token")),
        ("gone", always(answer(404)), Err("answered 404")),
        ("to the cloud's metadata", to("http://169.254.169.254/latest/meta-data"), Err("is not followed")),
        ("to Alibaba's metadata", to("http://100.100.100.200/latest"), Err("is not followed")),
        ("to a file", to("file:///etc/passwd"), Err("only http and https")),
        ("to a password", to("http://me:secret@127.0.0.1/"), Err("has a password in it")),
        ("to itself without end", to("/cdn/../again"), Err("leads on and on")),
    ]
}

#[test]
fn a_hub_that_misbehaves_is_borne_with_or_refused() {
    for (name, behave, expected) in faults() {
        let dir = tempfile::tempdir().unwrap();
        let good = |request: &Request| request.path.contains("/revision/") || request.path.ends_with(".json");
        let hub = TestHub::start_with(&small_model(), move |request| match good(request) {
            true => Behaviour::Good,
            false if request.path.ends_with(".safetensors") || request.path.contains("again") => {
                behave(request)
            }
            false => Behaviour::Good,
        });
        let mut options = options();
        if name.starts_with("silent") {
            options.stall_timeout = Duration::from_secs(1);
        }
        let pulled = pull_with(Remote::new(&Hub::Url(hub.url.clone()), options).unwrap(), dir.path());
        match (pulled, expected) {
            (Ok(pulled), Ok(())) => {
                assert_eq!(
                    std::fs::read(pulled.snapshot.join("model.safetensors")).unwrap(),
                    noise(300_000),
                    "{name}"
                );
            }
            (Err(error), Err(why)) => {
                let error = error.to_string();
                assert!(error.contains(why) && !error.contains("secret\""), "{name}: {error}");
                let store = Store::open(dir.path()).unwrap();
                let listed = store.resolve(&repo(), &Revision::main());
                assert!(
                    matches!(listed, Err(StoreError::NoRepo(_))),
                    "{name}: nothing half-pulled is listed"
                );
                let digest = Sha256Digest::of(&noise(300_000));
                assert!(store.has(&digest).unwrap().is_none(), "{name}: nothing wrong is stored");
            }
            (pulled, expected) => panic!("{name}: {expected:?}, but {pulled:?}"),
        }
    }
}

#[test]
fn a_listing_that_is_wrong_is_refused() {
    let info = |files: serde_json::Value| json!({"sha": COMMIT, "siblings": files}).to_string();
    let file = |name: &str| json!({"rfilename": name, "size": 2, "blobId": COMMIT});
    let told =
        |status, code: &str, body: String| Behaviour::Answer(status, "X-Error-Code", code.to_owned(), body);
    for (behaviour, why) in [
        (told(404, "RepoNotFound", String::new()), "has no model Qwen/Qwen3-0.6B"),
        (told(404, "RevisionNotFound", String::new()), "has no revision `main`"),
        (told(403, "GatedRepo", "{\"error\": \"ask\"}".to_owned()), "with this token"),
        (told(401, "", String::new()), "with this token"),
        (told(200, "", "<html>".to_owned()), "what no hub should"),
        (told(200, "", "{\"sha\": \"12\", \"siblings\": []}".to_owned()), "40 hexadecimal digits"),
        (told(200, "", info(json!([file("a.json"), file("a.json")]))), "listed twice"),
        (told(200, "", info(json!([{"rfilename": "a.json"}]))), "without its size"),
        (told(200, "", info(json!([file("a.json")]))), "no weights"),
        (told(200, "", info(json!([file("../a.safetensors")]))), "no weights"),
        (told(200, "", info(json!([file("a.bin"), file("a.json")]))), "pickles"),
        (told(200, "", "x".repeat(65 * MIB)), "more than"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let hub = TestHub::start_with(&[], move |_| behaviour.clone());
        let error = pull(&hub, dir.path()).unwrap_err().to_string();
        assert!(error.contains(why), "{why}: {error}");
    }
}

#[test]
fn a_token_is_for_the_hub_alone() {
    let dir = tempfile::tempdir().unwrap();
    let cdn = TestHub::start(&[("model.safetensors", noise(300_000))]);
    let address = cdn.url.replace("127.0.0.1", "localhost");
    let hub =
        TestHub::start_with(&small_model(), move |request| match request.path.ends_with(".safetensors") {
            true => Behaviour::Answer(
                302,
                "Location",
                format!("{address}/cdn/model.safetensors?signed"),
                String::new(),
            ),
            false => Behaviour::Good,
        });
    pull(&hub, dir.path()).unwrap();
    assert!(hub.asked().iter().all(|request| request.headers["authorization"] == "Bearer secret"));
    let asked = cdn.asked();
    assert!(!asked.is_empty());
    assert!(asked.iter().all(|request| !request.headers.contains_key("authorization")));
}

#[test]
fn a_large_file_comes_in_parts_and_goes_on_where_it_broke_off() {
    let (dir, large) = (tempfile::tempdir().unwrap(), noise(35 * MIB + 5));
    let files = [("config.json", b"{}\n".to_vec()), ("model.safetensors", large.clone())];
    // the second part never comes, and breaks off after 5 MiB
    let hub = TestHub::start_with(&files, |request| match request.range() {
        Some(range) if (16 * MIB as u64..32 * MIB as u64).contains(&range.start) => {
            match request.headers["range"].as_str() {
                "bytes=16777216-33554431" => Behaviour::Truncate(5 * MIB),
                _ => Behaviour::Answer(404, "x-test", "1".to_owned(), String::new()),
            }
        }
        _ => Behaviour::Good,
    });
    let error = pull(&hub, dir.path()).unwrap_err();
    assert!(error.to_string().contains("404"), "{error}");
    let store = Store::open(dir.path()).unwrap();
    assert!(store.resolve(&repo(), &Revision::main()).is_err());
    drop(store);

    let healthy = TestHub::start(&files);
    // the store's upstream is a URL: the port is another
    let pulled = pull(&healthy, dir.path()).unwrap();
    assert!(std::fs::read(pulled.snapshot.join("model.safetensors")).unwrap() == large);
    let ranges = healthy.ranges("model.safetensors");
    let asked: u64 = ranges.iter().map(|range| range.end - range.start).sum();
    assert!(
        asked <= 35 * MIB as u64 + 5 - 5 * MIB as u64,
        "what was recorded is not asked for again: {ranges:?}"
    );
    assert!(
        ranges.iter().all(|range| !(range.start < 21 * MIB as u64 && range.end > 16 * MIB as u64)),
        "{ranges:?}"
    );
}

#[test]
fn a_file_that_changes_while_it_comes_is_noticed() {
    let (dir, large) = (tempfile::tempdir().unwrap(), noise(35 * MIB));
    let hub = TestHub::start_with(&[("model.safetensors", large)], |request| match request.range() {
        Some(range) => Behaviour::Header("etag", format!("\"version-{}\"", range.start)),
        None => Behaviour::Good,
    });
    let error = pull(&hub, dir.path()).unwrap_err().to_string();
    assert!(error.contains("changed while it was downloaded"), "{error}");
}

#[test]
fn ranges_are_what_was_asked_for_or_the_whole_is_taken() {
    let large = noise(17 * MIB);
    let files = [("model.safetensors", large.clone())];
    let dir = tempfile::tempdir().unwrap();
    let hub = TestHub::start_with(&files, |_| Behaviour::NoRanges);
    let pulled = pull(&hub, dir.path()).unwrap();
    assert!(std::fs::read(pulled.snapshot.join("model.safetensors")).unwrap() == large);
    for lie in ["bytes 0-16777215/99", "bytes 1-16777216/17825792", "nonsense"] {
        let dir = tempfile::tempdir().unwrap();
        let hub = TestHub::start_with(&files, move |request| match request.range() {
            Some(range) if range.start == 0 => Behaviour::Header("content-range", lie.to_owned()),
            _ => Behaviour::Good,
        });
        let error = pull(&hub, dir.path()).unwrap_err().to_string();
        assert!(error.contains(lie), "{error}");
    }
}

#[test]
fn what_must_not_be_asked_is_not_asked() {
    let offline = RemoteOptions { offline: true, ..options() };
    let error = Remote::new(&Hub::HuggingFace, offline).err().unwrap().to_string();
    assert!(error.contains("must not be used"), "{error}");
    for (url, why) in [
        ("https://me:secret@hub.corp", "user or a password"),
        ("ftp://hub.corp", "only http"),
        ("no url", "write https://HOST"),
    ] {
        let error = Remote::new(&Hub::Url(url.to_owned()), options()).err().unwrap().to_string();
        assert!(error.contains(why) && !error.contains("secret"), "{error}");
    }
    let broken = RemoteOptions { token: Some("a\nb".to_owned()), ..options() };
    assert!(Remote::new(&Hub::HuggingFace, broken).is_err());
}

#[test]
fn a_directory_is_pushed_in_one_commit() {
    let dir = tempfile::tempdir().unwrap();
    let (small, large) = (noise(900), noise(2_500));
    for (name, bytes) in [
        ("config.json", &b"{}\n"[..]),
        ("a.safetensors", &small),
        ("b.safetensors", &large),
        ("x.bin", b"pickle"),
        (".hidden", b""),
    ] {
        std::fs::write(dir.path().join(name), bytes).unwrap();
    }
    let hub = TestHub::start(&[]);
    let load = Load::of_directory(dir.path()).unwrap();
    assert_eq!(load.left_out.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), ["x.bin"]);
    let options = PushOptions { private: true, branch: RefName::main(), message: "first\n\nmore".to_owned() };
    let pushed = || {
        run(async {
            let remote = Remote::new(&Hub::Url(hub.url.clone()), self::options()).unwrap();
            push(&remote, &repo(), &load, &options, &|done, total| assert!(done <= total)).await
        })
    };
    let made = pushed().unwrap();
    assert_eq!((made.commit.to_string().as_str(), made.url), (COMMIT, Some(format!("{}/commit", hub.url))));
    let uploaded = hub.uploaded();
    let (a, b) = (Sha256Digest::of(&small), Sha256Digest::of(&large));
    assert_eq!(uploaded[&a.to_string()], small);
    let parts: Vec<u8> = (1..=3).flat_map(|part| uploaded[&format!("{b}.{part}")].clone()).collect();
    assert_eq!(parts, large);
    let done: serde_json::Value = serde_json::from_slice(&uploaded[&format!("{b}.done")]).unwrap();
    assert_eq!(done["parts"][2], json!({"partNumber": 3, "etag": "\"part\""}));
    let value = |key: &str| serde_json::from_slice::<serde_json::Value>(&uploaded[key]).unwrap();
    assert_eq!(value("header -"), json!({"summary": "first", "description": "more"}));
    assert_eq!(
        value("file config.json"),
        json!({"path": "config.json", "encoding": "base64", "content": "e30K"})
    );
    let expected = json!({"path": "a.safetensors", "algo": "sha256", "oid": a, "size": 900});
    assert_eq!(value("lfsFile a.safetensors"), expected);
    assert!(!uploaded.keys().any(|key| key.contains("x.bin") || key.contains("hidden")));
    let create = hub.asked().into_iter().find(|request| request.path == "/api/repos/create").unwrap();
    let create: serde_json::Value = serde_json::from_slice(&create.body).unwrap();
    assert_eq!(
        create,
        json!({"type": "model", "organization": "Qwen", "name": "Qwen3-0.6B", "private": true})
    );
    hub.forget();
    pushed().unwrap();
    let again = hub.asked();
    assert!(
        !again.iter().any(|request| request.path == format!("/upload/{a}")),
        "what the hub has is not sent again"
    );
}
