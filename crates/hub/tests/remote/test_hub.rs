//! A small hub on this machine that can misbehave: it writes HTTP itself, so that it can lie about lengths too.
#![allow(dead_code, reason = "each of the tests that share it needs a part of it")]

use hub::{GitDigest, Sha256Digest};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The commit that it is at.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A request, as the hub saw it.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// Without the query, `%20` read as a space.
    pub path: String,
    pub query: String,
    /// By names in small letters.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
    /// How many requests for the same path came before it.
    pub before: usize,
}

impl Request {
    /// The bytes that it asks for.
    pub fn range(&self) -> Option<Range<u64>> {
        let (start, end) = self.headers.get("range")?.strip_prefix("bytes=")?.split_once('-')?;
        Some(start.parse().unwrap()..end.parse::<u64>().unwrap() + 1)
    }
}

/// What the hub does with a request.
#[derive(Clone, Debug)]
pub enum Behaviour {
    /// As it should.
    Good,
    /// As it should, with this header instead of its own, or removed where it is empty.
    Header(&'static str, String),
    /// A status, a header and a body.
    Answer(u16, &'static str, String, String),
    /// So many bytes of the file, then the connection ends.
    Truncate(usize),
    /// The right length, other bytes.
    OtherBytes,
    /// More bytes than there are, without a length.
    TooMuch,
    /// All of the file, whatever was asked for.
    NoRanges,
    /// The file in pieces, with so long between them.
    Slow(Duration),
    /// Nothing.
    Hang,
}

type Behave = dyn Fn(&Request) -> Behaviour + Send + Sync;

/// A running hub. It ends with the process.
pub struct TestHub {
    pub url: String,
    state: Arc<State>,
}

struct State {
    files: Vec<(String, Vec<u8>)>,
    behave: Box<Behave>,
    asked: Mutex<Vec<Request>>,
    uploaded: Mutex<BTreeMap<String, Vec<u8>>>,
    connections: AtomicUsize,
    url: String,
}

/// A file with no pattern that a fault could leave in place.
pub fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut noise = Vec::with_capacity(bytes + 8);
    while noise.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        noise.extend_from_slice(&state.to_le_bytes());
    }
    noise.truncate(bytes);
    noise
}

/// Whether hubs keep it with LFS.
fn is_lfs(path: &str) -> bool {
    path.ends_with(".safetensors") || path.ends_with(".gguf")
}

impl TestHub {
    /// A hub that has these files in every repository, and behaves.
    pub fn start(files: &[(&str, Vec<u8>)]) -> TestHub {
        TestHub::start_with(files, |_| Behaviour::Good)
    }

    /// A hub that has these files in every repository.
    pub fn start_with(
        files: &[(&str, Vec<u8>)],
        behave: impl Fn(&Request) -> Behaviour + Send + Sync + 'static,
    ) -> TestHub {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(State {
            files: files.iter().map(|(path, bytes)| ((*path).to_owned(), bytes.clone())).collect(),
            behave: Box::new(behave),
            asked: Mutex::default(),
            uploaded: Mutex::default(),
            connections: AtomicUsize::new(0),
            url: url.clone(),
        });
        let served = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let state = served.clone();
                state.connections.fetch_add(1, Ordering::Relaxed);
                // whoever reads too little goes away
                std::thread::spawn(move || while state.serve(&stream).unwrap_or(false) {});
            }
        });
        TestHub { url, state }
    }

    /// All requests so far.
    pub fn asked(&self) -> Vec<Request> {
        self.state.asked.lock().unwrap().clone()
    }

    /// The ranges of a file that were asked for; all of it where none was named.
    pub fn ranges(&self, file: &str) -> Vec<Range<u64>> {
        let size =
            self.state.files.iter().find(|(path, _)| path == file).map_or(0, |(_, bytes)| bytes.len() as u64);
        let asked = self.asked();
        let of_file = asked.iter().filter(|request| request.path.ends_with(&format!("/{file}")));
        of_file.map(|request| request.range().unwrap_or(0..size)).collect()
    }

    /// Forgets what was asked.
    pub fn forget(&self) {
        self.state.asked.lock().unwrap().clear();
    }

    /// What was uploaded, by its SHA-256, or by its path for what came within a commit.
    pub fn uploaded(&self) -> BTreeMap<String, Vec<u8>> {
        self.state.uploaded.lock().unwrap().clone()
    }
}

impl State {
    /// Serves a request. Whether another may follow on the connection.
    fn serve(&self, stream: &TcpStream) -> std::io::Result<bool> {
        let Some(request) = self.read(stream)? else { return Ok(false) };
        let behaviour = (self.behave)(&request);
        let mut out = stream;
        if let Behaviour::Answer(status, name, value, body) = &behaviour {
            let length = body.len();
            write!(
                out,
                "HTTP/1.1 {status} As Told\r\n{name}: {value}\r\nContent-Length: {length}\r\n\r\n{body}"
            )?;
            return Ok(true);
        }
        if matches!(behaviour, Behaviour::Hang) {
            std::thread::sleep(Duration::from_secs(3));
            return Ok(false);
        }
        if let Some((path, bytes)) = self.file(&request) {
            return self.send_file(out, &request, &behaviour, &path, &bytes);
        }
        let (status, answer) = self.api(&request);
        let body = if answer == Value::Null { String::new() } else { answer.to_string() };
        let length = body.len();
        write!(out, "HTTP/1.1 {status} OK\r\nContent-Length: {length}\r\nETag: \"part\"\r\n\r\n{body}")?;
        Ok(true)
    }

    fn read(&self, stream: &TcpStream) -> std::io::Result<Option<Request>> {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut parts = line.split(' ');
        let method = parts.next().unwrap().to_owned();
        let target = parts.next().unwrap();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let query = query.to_owned();
        let path = path.replace("%20", " ");
        let mut headers = BTreeMap::new();
        loop {
            line.clear();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
        let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let mut asked = self.asked.lock().unwrap();
        let before = asked.iter().filter(|other| other.path == path).count();
        let request = Request { method, path, query, headers, body, before };
        asked.push(request.clone());
        Ok(Some(request))
    }

    /// The file that a request is for.
    fn file(&self, request: &Request) -> Option<(String, Vec<u8>)> {
        let path = match request.path.split_once("/resolve/") {
            Some((_, rest)) => rest.split_once('/')?.1.to_owned(),
            None if request.path.ends_with("/repo") => {
                let (_, path) = request.query.split_once("FilePath=")?;
                path.replace("%2F", "/").replace('+', " ")
            }
            None => request.path.strip_prefix("/cdn/")?.to_owned(),
        };
        self.files.iter().find(|(name, _)| *name == path).cloned()
    }

    fn send_file(
        &self,
        mut out: &TcpStream,
        request: &Request,
        behaviour: &Behaviour,
        path: &str,
        bytes: &[u8],
    ) -> std::io::Result<bool> {
        let range = request.range().filter(|_| !matches!(behaviour, Behaviour::NoRanges));
        let (status, part) = match &range {
            Some(range) => (206, &bytes[range.start as usize..range.end as usize]),
            None => (200, bytes),
        };
        let mut headers = BTreeMap::from([
            ("x-repo-commit", COMMIT.to_owned()),
            ("etag", format!("\"{}\"", digest(path, bytes))),
            ("content-length", part.len().to_string()),
        ]);
        if let Some(range) = &range {
            headers
                .insert("content-range", format!("bytes {}-{}/{}", range.start, range.end - 1, bytes.len()));
        }
        let mut sent = part.to_vec();
        match behaviour {
            Behaviour::Header(name, value) if value.is_empty() => drop(headers.remove(name)),
            Behaviour::Header(name, value) => drop(headers.insert(name, value.clone())),
            Behaviour::Truncate(length) => sent.truncate(*length),
            Behaviour::OtherBytes => sent.iter_mut().for_each(|byte| *byte ^= 1),
            Behaviour::TooMuch => {
                headers.remove("content-length");
                headers.insert("connection", "close".to_owned());
                sent.push(0);
            }
            _ => {}
        }
        write!(out, "HTTP/1.1 {status} OK\r\n")?;
        headers.iter().try_for_each(|(name, value)| write!(out, "{name}: {value}\r\n"))?;
        write!(out, "\r\n")?;
        match behaviour {
            Behaviour::Slow(pause) => {
                for piece in sent.chunks(64 << 10) {
                    out.write_all(piece)?;
                    std::thread::sleep(*pause);
                }
            }
            _ => out.write_all(&sent)?,
        }
        Ok(!matches!(
            behaviour,
            Behaviour::Truncate(_) | Behaviour::TooMuch | Behaviour::Header("content-length", _)
        ))
    }

    /// Everything that isn't a file.
    fn api(&self, request: &Request) -> (u16, Value) {
        let path = request.path.as_str();
        let body = || serde_json::from_slice::<Value>(&request.body).unwrap_or_default();
        if path.contains("/revision/") {
            return (200, json!({"sha": COMMIT, "siblings": self.siblings()}));
        }
        if path.ends_with("/repo/files") {
            let files: Vec<Value> = self
                .files
                .iter()
                .map(|(path, bytes)| {
                    json!({
                        "Path": path, "Type": "blob", "Size": bytes.len(), "Sha256": Sha256Digest::of(bytes),
                        "IsLFS": is_lfs(path), "Revision": COMMIT,
                    })
                })
                .collect();
            let committer = json!({"Id": "", "ShortId": &COMMIT[..8], "CommittedDate": 1_700_000_000});
            return (
                200,
                json!({"Code": 200, "Success": true, "Data": {"Files": files, "LatestCommitter": committer}}),
            );
        }
        if path.contains("/preupload/") {
            let modes: Vec<Value> = body()["files"]
                .as_array()
                .unwrap()
                .iter()
                .map(|file| {
                    let mode = if is_lfs(file["path"].as_str().unwrap()) { "lfs" } else { "regular" };
                    json!({"path": file["path"], "uploadMode": mode, "shouldIgnore": false})
                })
                .collect();
            return (200, json!({"files": modes}));
        }
        if path.ends_with("/info/lfs/objects/batch") {
            let objects: Vec<Value> =
                body()["objects"].as_array().unwrap().iter().map(|o| self.lfs(o)).collect();
            return (200, json!({"transfer": "basic", "objects": objects}));
        }
        if let Some(name) = path.strip_prefix("/upload/") {
            self.uploaded.lock().unwrap().insert(name.to_owned(), request.body.clone());
            return (200, Value::Null);
        }
        if path.contains("/commit/") {
            for line in request.body.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
                let line: Value = serde_json::from_slice(line).unwrap();
                let key = format!(
                    "{} {}",
                    line["key"].as_str().unwrap(),
                    line["value"]["path"].as_str().unwrap_or("-")
                );
                self.uploaded.lock().unwrap().insert(key, line["value"].to_string().into_bytes());
            }
            return (200, json!({"commitOid": COMMIT, "commitUrl": format!("{}/commit", self.url)}));
        }
        (200, json!({"url": self.url}))
    }

    fn siblings(&self) -> Vec<Value> {
        let sibling = |(path, bytes): &(String, Vec<u8>)| {
            let mut sibling = json!({"rfilename": path, "size": bytes.len(), "blobId": GitDigest::of(bytes)});
            if is_lfs(path) {
                sibling["lfs"] =
                    json!({"sha256": Sha256Digest::of(bytes), "size": bytes.len(), "pointerSize": 130});
            }
            sibling
        };
        self.files.iter().map(sibling).collect()
    }

    /// Files above 1,000 bytes go up in parts of that size, others at once; one that is there needs nothing.
    fn lfs(&self, object: &Value) -> Value {
        let (oid, size) = (object["oid"].as_str().unwrap(), object["size"].as_u64().unwrap());
        if self.uploaded.lock().unwrap().contains_key(oid) {
            return json!({"oid": oid, "size": size});
        }
        let href = |name: String| format!("{}/upload/{name}", self.url);
        let upload = match size {
            0..=1_000 => json!({"href": href(oid.to_owned()), "header": {"X-Told": "yes"}}),
            _ => {
                let mut header = json!({"chunk_size": "1000"});
                for part in 1..=size.div_ceil(1_000) {
                    header[part.to_string()] = href(format!("{oid}.{part}")).into();
                }
                json!({"href": href(format!("{oid}.done")), "header": header})
            }
        };
        json!({"oid": oid, "size": size, "actions": {"upload": upload, "verify": {"href": href(format!("{oid}.verified"))}}})
    }
}

/// By what the hub lists a file.
fn digest(path: &str, bytes: &[u8]) -> String {
    if is_lfs(path) { Sha256Digest::of(bytes).to_string() } else { GitDigest::of(bytes).to_string() }
}
