//! `wen models`, over the real binary and a store with real checkpoints.

mod common;

use common::{Server, assert_fails, command, parity, stdout};
use hub::store::{Mirrored, MirroredFile, NewCommit, Operation, Upstream};
use hub::{RefName, Repo, Revision, Store};
use serde_json::Value;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Output, Stdio};
use std::thread;

struct Hub {
    dir: tempfile::TempDir,
    store: Store,
}

impl Hub {
    fn new() -> Hub {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        Hub { dir, store }
    }

    /// Stores the directory's files as the model `name`.
    fn add(&self, name: &str, dir: &Path) -> Repo {
        let repo = Repo::model(name.parse().unwrap());
        self.store.create(&repo, false).unwrap();
        self.commit(&repo, dir);
        repo
    }

    fn commit(&self, repo: &Repo, dir: &Path) {
        let operations = self.store.import(dir).unwrap();
        let (message, author, expected_parent) = ("as trained".to_owned(), "test".to_owned(), None);
        let new = NewCommit { message, author, expected_parent, operations };
        self.store.commit(repo, &RefName::main(), new).unwrap();
    }

    fn wen(&self, arguments: &[&str]) -> Output {
        command(arguments).env("WEN_HUB", self.dir.path()).stdin(Stdio::null()).output().unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&stdout(self.wen(arguments))).unwrap()
    }
}

/// An adapter's directory with a card.
fn adapter(base: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let card = format!(
        "---\nbase_model: {base}\nbase_model_relation: adapter\nlicense: apache-2.0\nwen: {{\"data_sha256\": \"abc\"}}\n\
         ---\n# x\n\n## Recipe\n\n```toml\nseed = 7\n```\n"
    );
    std::fs::write(dir.path().join("README.md"), card).unwrap();
    std::fs::write(dir.path().join("adapter_config.json"), r#"{"peft_type": "LORA"}"#).unwrap();
    dir
}

#[test]
fn stored_models_are_listed_shown_tagged_and_removed() {
    let hub = Hub::new();
    assert!(stdout(hub.wen(&["models"])).is_empty());
    hub.add("Qwen/Tiny", &parity("qwen3-tied"));
    let notes = hub.add("me/notes", adapter("Qwen/Tiny").path());

    let table = stdout(hub.wen(&["models"]));
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 3, "{table}");
    assert!(
        lines[0].starts_with("name") && lines[1].contains("Qwen/Tiny") && lines[1].contains("qwen3"),
        "{table}"
    );
    assert!(lines[2].contains("adapter") && lines[2].contains("never"), "{table}");
    let list = hub.json(&["models", "list", "--json"]);
    assert_eq!(list[0]["quantization"], "F32");
    assert!(list[0]["parameters"].as_u64().unwrap() > 1_000, "{list}");

    let shown = stdout(hub.wen(&["models", "show", "me/notes"]));
    for part in [
        "licence              apache-2.0",
        "SHA-256 of the data  abc",
        "family\n  me/notes (adapter of)\n  └─ Qwen/Tiny\n",
        "recipe\n  seed = 7\n",
    ] {
        assert!(shown.contains(part), "{part} is not in\n{shown}");
    }
    // looking is not using
    assert!(hub.json(&["models", "list", "--json"])[1]["used"].is_null());
    let path = hub.json(&["models", "show", "Qwen/Tiny", "--json"])["path"].as_str().unwrap().to_owned();
    let inspected: Value = serde_json::from_str(&stdout(common::wen(&["inspect", &path, "--json"]))).unwrap();
    assert_eq!(inspected["name"], "Tiny");

    stdout(hub.wen(&["models", "tag", "me/notes", "v1"]));
    assert_fails(&hub.wen(&["models", "tag", "me/notes", "v1"]), 2, &["`v1` already", "--force"]);
    hub.commit(&notes, adapter("a/b").path());
    let tagged = hub.json(&["models", "show", "me/notes@v1", "--json"]);
    assert_eq!(tagged["family_tree"]["bases"][0]["name"], "Qwen/Tiny");
    stdout(hub.wen(&["models", "tag", "me/notes", "v1", "--force"]));
    let moved = hub.store.resolve(&notes, &Revision::Ref("v1".parse().unwrap())).unwrap();
    assert_eq!(moved, hub.store.resolve(&notes, &Revision::main()).unwrap());
    stdout(hub.wen(&["models", "rm", "me/notes@v1"]));
    assert_fails(&hub.wen(&["models", "show", "me/notes@v1"]), 3, &["no revision `v1`"]);
    assert_fails(&hub.wen(&["models", "rm", "me/notes@main"]), 2, &["delete the repository"]);

    let removed = hub.wen(&["models", "rm", "Qwen/Tiny", "me/notes"]);
    let said = String::from_utf8_lossy(&removed.stderr).into_owned();
    stdout(removed);
    assert!(
        said.contains("removed Qwen/Tiny") && said.contains("freed") && !said.contains("freed 0"),
        "{said}"
    );
    assert_fails(
        &hub.wen(&["models", "show", "Qwen/Tiny"]),
        3,
        &["no model Qwen/Tiny in the store", "wen pull"],
    );
    let left = walk(&hub.dir.path().join("blobs"));
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_model_that_was_pulled_by_a_tag_or_a_commit_alone_is_known_by_its_name() {
    let hub = Hub::new();
    let upstream = Upstream { hub: "hf".to_owned(), repo: "Qwen/Tiny".parse().unwrap() };
    let pull = |name: &str, branch: Option<&str>, id: &str| {
        let files = hub.store.import(&parity("qwen3-tied")).unwrap().into_iter().map(|operation| {
            let Operation::Add { path, sha256, lfs } = operation else { panic!("only files are imported") };
            (path, MirroredFile { sha256, lfs })
        });
        let mirrored = Mirrored {
            id: Some(id.repeat(40).parse().unwrap()),
            branch: branch.map(|branch| branch.parse().unwrap()),
            upstream: upstream.clone(),
            message: String::new(),
            author: String::new(),
            time: None,
            files: files.collect(),
        };
        hub.store.mirror(&Repo::model(name.parse().unwrap()), mirrored).unwrap();
    };
    pull("team/tiny", Some("v1"), "1");
    pull("team/pinned", None, "2");
    hub.add("me/notes", adapter("team/tiny").path());
    let list = hub.json(&["models", "list", "--json"]);
    for (place, digit) in [(1, "2"), (2, "1")] {
        assert_eq!(list[place]["commit"], digit.repeat(40), "{list}");
        assert_eq!(list[place]["family"], "qwen3", "{list}");
    }
    for (name, id) in [("team/tiny", "1"), ("team/pinned", "2")] {
        let shown = stdout(hub.wen(&["models", "show", name]));
        assert!(shown.contains(&id.repeat(40)), "{shown}");
        assert!(!shown.lines().any(|line| line.starts_with("branches") && line.contains("main")), "{shown}");
    }
    let shown = stdout(hub.wen(&["models", "show", "me/notes"]));
    assert!(shown.contains("  └─ team/tiny\n"), "{shown}");
    stdout(hub.wen(&["push", "team/tiny", "me/copy", "--to", "local"]));
}

#[test]
fn what_is_converted_and_pushed_knows_base_recipe_data_and_evaluation() {
    let hub = Hub::new();
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    // a model as a run leaves it, of a base that is not stored
    let model = at("model");
    stdout(hub.wen(&["convert", parity("qwen3-train-base").to_str().unwrap(), "--out", &model]));
    let card = "---\nbase_model: Qwen/Tiny\nbase_model_relation: finetune\nlicense: apache-2.0\nwen: {\"data_sha256\": \"abc\"}\n\
        model-index: [{\"name\": \"x\", \"results\": [{\"dataset\": {\"name\": \"held out\"}, \"metrics\": \
        [{\"type\": \"eval_loss\", \"value\": 1.25}]}]}]\n---\n# tuned\n\n## Recipe\n\n```toml\nseed = 7\n```\n";
    std::fs::write(dir.path().join("model/README.md"), card).unwrap();
    let [file, other] = ["small.gguf", "other"].map(at);
    stdout(hub.wen(&["convert", &model, "--out", &file, "--type", "f16"]));
    stdout(hub.wen(&["convert", &file, "--out", &other]));
    std::fs::write(hub.dir.path().join("settings.toml"), format!("[aliases]\nsmall = {file:?}\n")).unwrap();
    stdout(hub.wen(&["push", "small", "me/small", "--to", "local"]));
    stdout(hub.wen(&["push", &other, "me/other", "--to", "local"]));
    let tree = "family\n  me/small (quantized of)\n  └─ tuned (finetune of) (not stored here)\n     └─ Qwen/Tiny (not stored here)\n";
    let other = tree
        .replace(
            "me/small (quantized of)\n",
            "me/other (quantized of)\n  └─ small (quantized of) (not stored here)\n",
        )
        .replace("  └─ tuned", "     └─ tuned")
        .replace("     └─ Qwen", "        └─ Qwen");
    for (name, tree) in [("me/small", tree), ("me/other", &other)] {
        let shown = stdout(hub.wen(&["models", "show", name]));
        for part in ["apache-2.0", "abc", "eval_loss 1.2500 on held out", tree, "recipe\n  seed = 7\n"] {
            assert!(shown.contains(part), "{part} is not in\n{shown}");
        }
    }
    let files = hub.json(&["models", "show", "me/small", "--json"]);
    assert_eq!(files["files"], 2, "{files}");
    assert_fails(
        &hub.wen(&["models", "show", "small"]),
        2,
        &["`small` is the path", "no model of the store"],
    );
    assert_fails(
        &hub.wen(&["push", parity("qwen3-tied/config.json").to_str().unwrap(), "me/x", "--to", "local"]),
        2,
        &["is neither a directory nor a GGUF file"],
    );
}

fn walk(dir: &Path) -> Vec<std::path::PathBuf> {
    let folders = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    folders.flat_map(|folder| std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path())).collect()
}

#[test]
fn broken_content_is_found_and_discarded() {
    let hub = Hub::new();
    hub.add("Qwen/Tiny", &parity("qwen3-tied"));
    stdout(hub.wen(&["models", "verify"]));
    let blob = walk(&hub.dir.path().join("blobs")).remove(0);
    std::fs::remove_file(&blob).unwrap();
    std::fs::write(&blob, "rotten").unwrap();
    let output = hub.wen(&["models", "verify"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("is broken"), "{output:?}");
    assert_eq!(hub.wen(&["models", "verify", "--discard"]).status.code(), Some(1));
    assert!(!blob.exists());
}

/// A SOCKS5 proxy without passwords (RFC 1928) that knows names of hubs: they all are this machine. Returns its port.
fn socks() -> u16 {
    fn relay(mut from: TcpStream, mut to: TcpStream) {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    }
    fn serve(mut client: TcpStream) -> io::Result<()> {
        let mut greeting = [0; 2];
        client.read_exact(&mut greeting)?;
        client.read_exact(&mut vec![0; greeting[1].into()])?;
        client.write_all(&[5, 0])?;
        // connect to a name of so many bytes
        let mut request = [0; 5];
        client.read_exact(&mut request)?;
        assert_eq!(request[..4], [5, 1, 0, 3], "{request:?}");
        let mut name_and_port = vec![0; usize::from(request[4]) + 2];
        client.read_exact(&mut name_and_port)?;
        let (name, port) = name_and_port.split_at(request[4].into());
        assert_eq!(name, b"hub.example");
        let hub = TcpStream::connect(("127.0.0.1", u16::from_be_bytes([port[0], port[1]])))?;
        client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
        let (back, home) = (hub.try_clone()?, client.try_clone()?);
        thread::spawn(move || relay(back, home));
        relay(client, hub);
        Ok(())
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for client in listener.incoming() {
            thread::spawn(|| serve(client.unwrap()).unwrap());
        }
    });
    port
}

#[test]
fn a_hub_that_only_a_proxy_knows_is_pulled_from() {
    let (there, here) = (Hub::new(), Hub::new());
    there.add("me/tiny", &parity("qwen3-tied"));
    let server =
        Server::start(&["--no-model", "--api-key", "k", "--hub", there.dir.path().to_str().unwrap()]);
    let name = format!("http://hub.example:{}/me/tiny", server.address.rsplit_once(':').unwrap().1);
    let pull = |proxy: Option<u16>| {
        let mut command = command(&["pull", &name, "--token-env", "KEY"]);
        command.env("WEN_HUB", here.dir.path()).env("KEY", "k").env("NO_PROXY", "").stdin(Stdio::null());
        match proxy {
            Some(port) => command.env("ALL_PROXY", format!("socks5h://127.0.0.1:{port}")),
            None => command.env_remove("ALL_PROXY"),
        };
        command.output().unwrap()
    };
    assert!(!pull(None).status.success());
    stdout(pull(Some(socks())));
    assert_eq!(here.json(&["models", "list", "--json"]).as_array().unwrap().len(), 1);
}

#[test]
fn names_that_cannot_be_are_refused() {
    let hub = Hub::new();
    for name in ["../x", "a", "a/b/c", "a/.."] {
        for arguments in
            [&["models", "show", name][..], &["models", "rm", name], &["models", "tag", name, "v1"]]
        {
            assert_fails(&hub.wen(arguments), 2, &["neither a path that exists nor a model's name"]);
        }
    }
    assert_fails(&hub.wen(&["models", "show", "/etc/passwd"]), 2, &["is the path /etc/passwd"]);
    assert_fails(&hub.wen(&["models", "rm", "a/b"]), 3, &["there is no model a/b in the store"]);
    assert_fails(&hub.wen(&["models", "gc", "--older-than", "soon"]), 2, &["is no age"]);
    stdout(hub.wen(&["models", "gc"]));
}
