//! A model behind OpenAI's API.

use super::Ask;
use crate::conversation::for_wire;
use crate::limits::{
    ANSWER_TIMEOUT, CONNECT_TIMEOUT, MAX_QUOTED_BYTES, MAX_REPLY_BYTES, MAX_RETRY_WAIT, MAX_TRIES,
};
use crate::{Answer, Call};
use reqwest::header::{AUTHORIZATION, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode, Url};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// A model behind OpenAI's API.
pub struct Endpoint {
    client: Client,
    /// Of `chat/completions`.
    url: Url,
    model: String,
    key: Option<HeaderValue>,
    /// Before the second try; later ones wait twice as long each.
    first_wait: Duration,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The address.
    #[error("`{0}` is no address of an endpoint; give http(s)://HOST/v1#MODEL")]
    Address(String),
    /// A password where messages would show it.
    #[error(
        "the endpoint's address has a user or a password in it; name the variable with the API key instead"
    )]
    Credentials,
    /// A key that a header can't carry.
    #[error("the API key has characters that a key does not have; check the environment variable")]
    Key,
    /// The client could not be made: no certificates, say.
    #[error("cannot prepare requests: {}", causes(.0))]
    Client(reqwest::Error),
    /// It could not be reached, or the connection broke, at the last try too.
    #[error("{url} does not answer: {}", causes(.source))]
    Unreachable {
        /// Its address.
        url: String,
        /// Why.
        source: reqwest::Error,
    },
    /// It refused.
    #[error("{url} answered {status}: {body}")]
    Refused {
        /// Its address.
        url: String,
        /// The status.
        status: StatusCode,
        /// The beginning of what it said.
        body: String,
    },
    /// A reply over the bound.
    #[error("{0} sent more than {MAX_REPLY_BYTES} bytes for one answer")]
    TooLarge(String),
    /// A reply that is no answer.
    #[error("{url} sent what is no chat completion ({error}): {body}")]
    Malformed {
        /// Its address.
        url: String,
        /// What is wrong with it.
        error: serde_json::Error,
        /// Its beginning.
        body: String,
    },
    /// A reply without an answer in it.
    #[error("{0} sent a chat completion without choices")]
    Empty(String),
}

/// An error and its causes, since reqwest says only the first.
fn causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

#[derive(Deserialize)]
struct Completion {
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    content: Option<String>,
    #[serde(alias = "reasoning")]
    reasoning_content: Option<String>,
    tool_calls: Option<Vec<ToolCall>>,
}

#[derive(Deserialize)]
struct ToolCall {
    function: Function,
}

#[derive(Deserialize)]
struct Function {
    name: String,
    arguments: Option<String>,
}

/// What became of one try.
enum Try {
    Done(Vec<u8>),
    /// Worth another, after so long if the endpoint said.
    Again(EndpointError, Option<Duration>),
}

impl Endpoint {
    /// The model that `address` names: `http(s)://HOST/v1#MODEL`, asked with `key` if there is one.
    pub fn new(address: &str, key: Option<&str>) -> Result<Endpoint, EndpointError> {
        let wrong = || EndpointError::Address(address.to_owned());
        let mut url = Url::parse(address).map_err(|_| wrong())?;
        let model = url.fragment().filter(|model| !model.is_empty()).ok_or_else(wrong)?.to_owned();
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err(wrong());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(EndpointError::Credentials);
        }
        url.set_fragment(None);
        url.path_segments_mut().map_err(|()| wrong())?.pop_if_empty().extend(["chat", "completions"]);
        let header = |key: &str| {
            let mut header =
                HeaderValue::from_str(&format!("Bearer {key}")).map_err(|_| EndpointError::Key)?;
            // so that it never shows in a log
            header.set_sensitive(true);
            Ok::<_, EndpointError>(header)
        };
        // an error means that one is installed already
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(ANSWER_TIMEOUT)
            // a key is for one host
            .redirect(Policy::none())
            .build()
            .map_err(EndpointError::Client)?;
        let first_wait = Duration::from_millis(500);
        Ok(Endpoint { client, url, model, key: key.map(header).transpose()?, first_wait })
    }

    /// The model's name there.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// An answer.
    pub async fn answer(&self, ask: Ask<'_>) -> Result<Answer, EndpointError> {
        let reply = self.post(&self.body(ask)).await?;
        let malformed = |error| {
            let (url, body) = (self.url.to_string(), beginning(&reply));
            EndpointError::Malformed { url, error, body }
        };
        let completion: Completion = serde_json::from_slice(&reply).map_err(malformed)?;
        let choice = completion
            .choices
            .into_iter()
            .next()
            .ok_or_else(|| EndpointError::Empty(self.url.to_string()))?;
        let calls = choice.message.tool_calls.unwrap_or_default().into_iter().map(|call| Call {
            name: call.function.name,
            arguments: call.function.arguments.unwrap_or_default(),
        });
        Ok(Answer {
            text: choice.message.content.unwrap_or_default(),
            reasoning: choice.message.reasoning_content.unwrap_or_default(),
            calls: calls.collect(),
            cut: choice.finish_reason.as_deref() == Some("length"),
        })
    }

    fn body(&self, ask: Ask<'_>) -> Value {
        let mut body = Map::new();
        body.insert("model".to_owned(), json!(self.model));
        body.insert("messages".to_owned(), for_wire(ask.messages).into());
        if !ask.tools.is_empty() {
            body.insert("tools".to_owned(), ask.tools.into());
        }
        body.insert("max_tokens".to_owned(), json!(ask.max_tokens));
        body.insert("temperature".to_owned(), json!(ask.temperature));
        if ask.temperature > 0.0 {
            // as a number that every endpoint takes
            body.insert("seed".to_owned(), json!(ask.seed & 0x7fff_ffff));
        }
        if let Some(thinking) = ask.thinking {
            body.insert("enable_thinking".to_owned(), json!(thinking));
        }
        body.into()
    }

    /// The reply to `body`, at the first try that gives one.
    async fn post(&self, body: &Value) -> Result<Vec<u8>, EndpointError> {
        let (mut tries, mut wait) = (1, self.first_wait);
        loop {
            match self.send(body).await? {
                Try::Done(reply) => return Ok(reply),
                Try::Again(error, _) if tries >= MAX_TRIES => return Err(error),
                Try::Again(_, asked) => tokio::time::sleep(asked.unwrap_or(wait).min(MAX_RETRY_WAIT)).await,
            }
            tries += 1;
            wait *= 2;
        }
    }

    async fn send(&self, body: &Value) -> Result<Try, EndpointError> {
        let mut request = self.client.post(self.url.clone()).json(body);
        if let Some(key) = &self.key {
            request = request.header(AUTHORIZATION, key.clone());
        }
        let url = || self.url.to_string();
        let broken = |source: reqwest::Error| {
            // who has taken so long will take as long again
            let again = !source.is_timeout() || source.is_connect();
            let error = EndpointError::Unreachable { url: url(), source };
            if again { Ok(Try::Again(error, None)) } else { Err(error) }
        };
        let response = match request.send().await {
            Ok(response) => response,
            Err(source) => return broken(source),
        };
        let (status, asked) = (response.status(), retry_after(&response));
        let reply = match read(response).await {
            Ok(Some(reply)) => reply,
            Ok(None) => return Err(EndpointError::TooLarge(url())),
            Err(source) => return broken(source),
        };
        if status.is_success() {
            return Ok(Try::Done(reply));
        }
        let refused = EndpointError::Refused { url: url(), status, body: beginning(&reply) };
        if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
            return Ok(Try::Again(refused, asked));
        }
        Err(refused)
    }
}

fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// The body; `None` if it is over its bound.
async fn read(mut response: Response) -> reqwest::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if bytes.len() + chunk.len() > MAX_REPLY_BYTES {
            return Ok(None);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Some(bytes))
}

fn beginning(reply: &[u8]) -> String {
    String::from_utf8_lossy(&reply[..reply.len().min(MAX_QUOTED_BYTES)]).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    /// Answers one connection after another with these, and gives back what it was sent.
    fn serve(replies: Vec<String>) -> (String, std::thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/v1#m", listener.local_addr().unwrap());
        let thread = std::thread::spawn(move || {
            let asked = replies.iter().map(|reply| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = Vec::new();
                let mut buffer = [0; 4096];
                while !request.ends_with(b"}") {
                    let read = stream.read(&mut buffer).unwrap();
                    assert!(read > 0, "{}", String::from_utf8_lossy(&request));
                    request.extend_from_slice(&buffer[..read]);
                }
                // whoever reads too much of it may have gone
                let _ = stream.write_all(reply.as_bytes());
                String::from_utf8(request).unwrap()
            });
            asked.collect()
        });
        (address, thread)
    }

    fn reply(status: &str, body: &str) -> String {
        let length = body.len();
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
    }

    fn ask(address: &str) -> Result<Answer, EndpointError> {
        let endpoint = Endpoint::new(address, Some("secret")).unwrap();
        let endpoint = Endpoint { first_wait: Duration::ZERO, ..endpoint };
        let messages = [json!({"role": "user", "content": "?"})];
        let ask =
            Ask { messages: &messages, tools: &[], max_tokens: 5, temperature: 0.0, seed: 0, thinking: None };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(endpoint.answer(ask))
    }

    const GOOD: &str = r#"{"choices": [{"message": {"content": "hi", "reasoning_content": "so", "tool_calls": [
        {"function": {"name": "f", "arguments": "{}"}}]}, "finish_reason": "length"}]}"#;

    #[test]
    fn an_answer_is_taken_apart_and_asked_again_where_the_endpoint_is_busy() {
        let busy = reply("429 Too Many Requests", "").replace("\r\n\r\n", "\r\nRetry-After: 0\r\n\r\n");
        let (address, server) = serve(vec![busy, reply("503 Unavailable", "later"), reply("200 OK", GOOD)]);
        let answer = ask(&address).unwrap();
        assert_eq!((answer.text.as_str(), answer.reasoning.as_str(), answer.cut), ("hi", "so", true));
        assert_eq!(answer.calls, [Call { name: "f".to_owned(), arguments: "{}".to_owned() }]);
        let asked = server.join().unwrap();
        assert_eq!(asked.len(), 3);
        for request in asked {
            assert!(request.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"), "{request}");
            assert!(request.contains("authorization: Bearer secret\r\n"), "{request}");
            assert!(request.contains(r#""model":"m""#) && !request.contains("enable_thinking"), "{request}");
        }
    }

    #[test]
    fn replies_that_are_no_answers_say_what_they_are() {
        let long = "x".repeat(MAX_REPLY_BYTES + 1);
        for (replies, why) in [
            (vec![reply("401 Unauthorized", "no such key")], "401 Unauthorized: no such key"),
            (vec![reply("400 Bad Request", &"é".repeat(1000))], "answered 400"),
            (vec![reply("302 Found", "")], "answered 302"),
            (vec![reply("200 OK", "<html>")], "no chat completion"),
            (vec![reply("200 OK", r#"{"choices": []}"#)], "without choices"),
            (vec![reply("200 OK", &long)], "more than"),
            (vec![reply("500 Oops", ""); MAX_TRIES as usize], "answered 500"),
        ] {
            let (address, server) = serve(replies);
            let error = ask(&address).unwrap_err().to_string();
            assert!(error.contains(why) && !error.contains("secret") && error.len() < 800, "{error}");
            server.join().unwrap();
        }
    }

    #[test]
    fn addresses_name_a_host_and_a_model() {
        for (address, url) in [
            ("http://localhost:8000/v1#qwen", "http://localhost:8000/v1/chat/completions"),
            ("https://h.cn/compatible-mode/v1/#a/b:c", "https://h.cn/compatible-mode/v1/chat/completions"),
        ] {
            let endpoint = Endpoint::new(address, None).unwrap();
            assert_eq!(endpoint.url.as_str(), url);
            assert_eq!(endpoint.model(), address.split_once('#').unwrap().1);
        }
        for address in
            ["http://localhost/v1", "http://localhost/v1#", "ftp://h/v1#m", "h/v1#m", "http://#m", ""]
        {
            assert!(matches!(Endpoint::new(address, None), Err(EndpointError::Address(_))), "{address}");
        }
        assert!(matches!(Endpoint::new("http://h/v1#m", Some("a\nb")), Err(EndpointError::Key)));
        assert!(matches!(Endpoint::new("http://me:secret@h/v1#m", None), Err(EndpointError::Credentials)));
    }
}
