//! Two answers, of which one is better.
//!
//! `chosen` and `rejected` are texts, a message (Model Studio, LLaMA-Factory) or lists of them (TRL, OpenAI). What comes
//! before them stands in `messages` (Model Studio), `prompt` (TRL), `conversations` or `instruction` (LLaMA-Factory),
//! `question`, `input.messages` (OpenAI), or is what both begin with.

use super::alpaca::instruction;
use super::chat::{self, Conversation, Message};
use super::completion::{Said, continued};
use super::forms::{Fields, Form, parse, tools};
use super::{Language, LineFault};
use crate::objective::{Example, Preference};
use serde::Deserialize;
use serde_json::Value;

pub(super) const FORM: Form<Preference> = Form {
    keys: &[&["chosen", "preferred_output"], &["rejected", "non_preferred_output"]],
    others: &[
        "messages",
        "conversations",
        "prompt",
        "question",
        "instruction",
        "input",
        "system",
        "history",
        "tools",
    ],
    shape: "{\"messages\": [...], \"chosen\": {...}, \"rejected\": {...}}",
    read,
};

#[derive(Deserialize)]
struct Line {
    chosen: Said,
    rejected: Said,
    messages: Option<Vec<Message>>,
    conversations: Option<Vec<Message>>,
    prompt: Option<Said>,
    question: Option<String>,
    instruction: Option<String>,
    input: Option<Input>,
    system: Option<String>,
    history: Option<Vec<(String, String)>>,
    tools: Option<Value>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "it must be a text, or an object with `messages`")]
enum Input {
    Text(String),
    Conversation { messages: Vec<Message>, tools: Option<Value> },
}

fn read(fields: Fields, language: &Language<'_>) -> Result<Vec<Preference>, LineFault> {
    let mut line: Line = parse(fields)?;
    if line.chosen == line.rejected {
        return Err(LineFault::SameAnswers);
    }
    if let (Said::Text(chosen), Said::Text(rejected)) = (&line.chosen, &line.rejected) {
        match &line.prompt {
            None if line.has_no_prompt() => return Ok(vec![whole_texts(chosen, rejected, language)?]),
            Some(Said::Text(prompt)) if language.template.is_none() => {
                let chosen = continued(prompt, chosen, "chosen", language)?;
                let rejected = continued(prompt, rejected, "rejected", language)?;
                return Ok(vec![Preference { chosen, rejected }]);
            }
            _ => {}
        }
    }
    let chosen = line.chosen.clone().messages("assistant", "chosen")?;
    let rejected = line.rejected.clone().messages("assistant", "rejected")?;
    let begins_anew = |answer: &[Message]| answer.first().is_some_and(|first| !first.is_answer());
    let (mut before, tools) = if begins_anew(&chosen) && begins_anew(&rejected) {
        // both are the whole conversation; what they share is the prompt, but for an answer that each must keep
        let most = chosen.len().min(rejected.len()) - 1;
        let same = chosen.iter().zip(&rejected).take(most).take_while(|(a, b)| a == b).count();
        (chosen[..same].to_vec(), tools(line.tools.take())?)
    } else {
        line.prompt()?
    };
    let skip = if begins_anew(&chosen) && begins_anew(&rejected) { before.len() } else { 0 };
    chat::unlearned(&mut before);
    let example = |answer: Vec<Message>, key: &'static str| -> Result<Example, LineFault> {
        let messages = before.iter().cloned().chain(answer.into_iter().skip(skip)).collect();
        let found = Conversation { messages, tools: tools.clone() }.examples(language)?;
        let [example]: [Example; 1] = found.try_into().map_err(|_| LineFault::SeveralAnswers(key))?;
        Ok(example)
    };
    Ok(vec![Preference { chosen: example(chosen, "chosen")?, rejected: example(rejected, "rejected")? }])
}

impl Line {
    fn has_no_prompt(&self) -> bool {
        self.messages.is_none()
            && self.conversations.is_none()
            && self.prompt.is_none()
            && self.question.is_none()
            && self.instruction.is_none()
            && self.input.is_none()
    }

    /// What comes before the answers, and the tools.
    fn prompt(self) -> Result<(Vec<Message>, Vec<Value>), LineFault> {
        let mut messages = chat::system(self.system);
        messages.extend(chat::turns(self.history.unwrap_or_default()));
        let mut all_tools = self.tools;
        let (mut input, mut conversation) = (None, None);
        match self.input {
            Some(Input::Text(text)) => input = Some(text),
            Some(Input::Conversation { messages, tools }) => {
                (conversation, all_tools) = (Some(messages), all_tools.or(tools));
            }
            None => {}
        }
        if let Some(given) = self.messages.or(self.conversations).or(conversation) {
            messages.extend(given);
        } else if let Some(prompt) = self.prompt {
            messages.extend(prompt.messages("user", "prompt")?);
        } else if let Some(text) = self.instruction {
            messages.push(Message::new("user", instruction(text, input)?));
        } else if let Some(question) = self.question.or(input) {
            messages.push(Message::new("user", question));
        }
        if messages.iter().all(|message| message.is_system()) {
            let what = "there is nothing that they answer; give `messages`, or `prompt`";
            return Err(LineFault::value("chosen, rejected", what));
        }
        Ok((messages, tools(all_tools)?))
    }
}

/// Texts that hold their prompt: what both begin with is not learned.
fn whole_texts(chosen: &str, rejected: &str, language: &Language<'_>) -> Result<Preference, LineFault> {
    let [chosen, rejected] =
        [(chosen, "chosen"), (rejected, "rejected")].map(|(text, key)| continued("", text, key, language));
    let (chosen, rejected) = (chosen?, rejected?);
    let same = chosen.tokens().iter().zip(rejected.tokens()).take_while(|(a, b)| a == b).count();
    let from = |example: Example| {
        let learned = (0..example.tokens().len()).map(|i| i >= same).collect();
        Example::new(example.tokens().to_vec(), learned)
    };
    Ok(Preference { chosen: from(chosen), rejected: from(rejected) })
}
