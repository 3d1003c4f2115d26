//! A conversation at the prompt.

use super::answer::{Answer, Finish, Printer};
use super::commands::{self, Line};
use super::settings::{NAMES, Settings};
use super::{Speaker, ask, conversation, message};
use crate::{exit, output};
use anyhow::Context;
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Lines of history that are kept.
const HISTORY_LINES: usize = 1000;

/// A conversation that goes on until the user leaves.
pub struct Session {
    speaker: Speaker,
    settings: Settings,
    system: Option<String>,
    messages: Vec<Value>,
    editor: DefaultEditor,
    history: Option<PathBuf>,
}

/// What the prompt gave.
enum Input {
    Text(String),
    /// Ctrl-C.
    Cleared,
    /// Ctrl-D.
    End,
}

impl Session {
    /// A conversation in which nothing has been said.
    pub fn new(speaker: Speaker, settings: Settings, system: Option<String>) -> anyhow::Result<Session> {
        let config =
            rustyline::Config::builder().max_history_size(HISTORY_LINES)?.auto_add_history(true).build();
        let mut editor = DefaultEditor::with_config(config)?;
        let history = history_file();
        if let Some(path) = &history {
            // the first time there is none
            let _ = editor.load_history(path);
        }
        Ok(Session { speaker, settings, system, messages: Vec::new(), editor, history })
    }

    /// Reads lines and does what they say.
    pub fn run(mut self) -> anyhow::Result<()> {
        output::line("/help lists the commands, Ctrl-D leaves.")?;
        let mut cleared = false;
        loop {
            match self.read()? {
                Input::End => break,
                Input::Cleared if cleared => break,
                Input::Cleared => {
                    cleared = true;
                    output::note("(Ctrl-C again, or Ctrl-D, leaves)");
                }
                Input::Text(text) => {
                    cleared = false;
                    if !self.obey(commands::parse(&text))? {
                        break;
                    }
                }
            }
        }
        self.save_history();
        Ok(())
    }

    /// A line, with those that it goes on in.
    fn read(&mut self) -> anyhow::Result<Input> {
        let mut text = String::new();
        loop {
            let prompt = if text.is_empty() { "> " } else { ". " };
            match self.editor.readline(prompt) {
                Ok(line) => match line.strip_suffix('\\') {
                    Some(begun) => text.extend([begun, "\n"]),
                    None => return Ok(Input::Text(text + &line)),
                },
                Err(ReadlineError::Interrupted) => return Ok(Input::Cleared),
                Err(ReadlineError::Eof) => return Ok(Input::End),
                Err(error) => return Err(error).context("cannot read from the terminal"),
            }
        }
    }

    /// Does what a line says; `false` ends the conversation.
    fn obey(&mut self, line: Line<'_>) -> anyhow::Result<bool> {
        match line {
            Line::Empty => {}
            Line::Say(text) => self.say(text)?,
            Line::Help => output::line(commands::HELP)?,
            Line::System(text) => self.system = Some(text.to_owned()).filter(|text| !text.is_empty()),
            Line::Show => {
                let mut facts = output::Facts::default();
                NAMES.iter().for_each(|name| facts.add(*name, self.settings.get(name)));
                facts.print()?;
            }
            Line::Set(name, value) => {
                if let Err(why) = self.settings.set(name, value) {
                    output::note(&why);
                }
            }
            Line::Save(path) => match self.save(Path::new(path)) {
                Ok(()) => output::note(&format!("saved {} messages", self.messages.len())),
                Err(error) => output::note(&exit::message(&error)),
            },
            Line::Clear => self.messages.clear(),
            Line::Exit => return Ok(false),
            Line::Wrong(why) => output::note(&why),
        }
        Ok(true)
    }

    /// Says something to the model. An answer that was stopped stays as far as it came; after an error the
    /// conversation is as if nothing had been said.
    fn say(&mut self, text: &str) -> anyhow::Result<()> {
        self.messages.push(message("user", text));
        let messages = conversation(self.system.as_deref(), &self.messages);
        match ask(&self.speaker, messages, &self.settings, Printer::to_stdout()) {
            Ok(answer) => {
                self.messages.push(message("assistant", &answer.text));
                note_end(&answer);
            }
            Err(error) if error.is::<std::io::Error>() => return Err(error),
            Err(error) => {
                self.messages.pop();
                output::note(&exit::message(&error));
            }
        }
        Ok(())
    }

    fn save(&self, path: &Path) -> anyhow::Result<()> {
        let messages = conversation(self.system.as_deref(), &self.messages);
        let text = serde_json::to_string_pretty(&messages)? + "\n";
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    fn save_history(&mut self) {
        let Some(path) = &self.history else { return };
        let saved = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        if let Err(error) = saved.map_err(ReadlineError::from).and_then(|()| self.editor.save_history(path)) {
            output::note(&format!("cannot keep the history in {}: {error}", path.display()));
        }
    }
}

fn note_end(answer: &Answer) {
    match answer.finish_reason {
        Finish::Stop => {}
        Finish::Length => output::note("(the answer is cut: max_tokens or the end of the context)"),
        Finish::Interrupted => output::note("(stopped)"),
    }
}

/// Where state of programs belongs (XDG Base Directory Specification).
fn history_file() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".local/state"));
    Some(state.or_else(home)?.join("wen").join("chat_history"))
}
