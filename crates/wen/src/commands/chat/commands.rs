//! What a line in a conversation means.

/// A line, understood.
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// Nothing.
    Empty,
    /// Something to say to the model.
    Say(&'a str),
    /// List the commands.
    Help,
    /// Change, or with empty text remove, what the model is told before the conversation.
    System(&'a str),
    /// Show all settings.
    Show,
    /// Change a setting.
    Set(&'a str, &'a str),
    /// Write the conversation to a file.
    Save(&'a str),
    /// Forget the conversation.
    Clear,
    /// Leave.
    Exit,
    /// A command that isn't one, and why.
    Wrong(String),
}

/// The commands, for people.
pub const HELP: &str = "\
/help              this list
/system TEXT       what the model is told before the conversation; without TEXT: nothing
/set               all settings
/set NAME VALUE    change a setting, such as: /set temperature 0.3, /set thinking off; VALUE may be default
/save FILE         write the conversation as JSON, which `wen render` reads
/clear             forget the conversation
/exit              leave; so do Ctrl-D, and Ctrl-C twice
A line that ends with \\ goes on in the next. Ctrl-C stops an answer.";

/// Understands a line.
pub fn parse(line: &str) -> Line<'_> {
    let line = line.trim();
    if line.is_empty() {
        return Line::Empty;
    }
    // a path or a comment is no command
    let Some(command) =
        line.strip_prefix('/').filter(|rest| rest.starts_with(|c: char| c.is_ascii_alphabetic()))
    else {
        return Line::Say(line);
    };
    let (name, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
    let rest = rest.trim();
    match (name, rest.is_empty()) {
        ("help", true) => Line::Help,
        ("system", _) => Line::System(rest),
        ("set", true) => Line::Show,
        ("set", false) => match rest.split_once(char::is_whitespace) {
            Some((name, value)) => Line::Set(name, value.trim()),
            None => Line::Wrong(format!("/set {rest} lacks a value")),
        },
        ("save", false) => Line::Save(rest),
        ("save", true) => Line::Wrong("/save lacks a file".to_owned()),
        ("clear", true) => Line::Clear,
        ("exit" | "quit", true) => Line::Exit,
        _ => Line::Wrong(format!("there is no command /{command}; /help lists them")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_commands_or_said() {
        for (line, expected) in [
            ("  ", Line::Empty),
            (" Hello /help ", Line::Say("Hello /help")),
            ("/ is a slash", Line::Say("/ is a slash")),
            ("//comment", Line::Say("//comment")),
            ("/help", Line::Help),
            ("/system Be brief.  Please.", Line::System("Be brief.  Please.")),
            ("/system", Line::System("")),
            ("/set", Line::Show),
            ("/set top_p  0.5", Line::Set("top_p", "0.5")),
            ("/set top_p", Line::Wrong("/set top_p lacks a value".to_owned())),
            ("/save a b.json", Line::Save("a b.json")),
            ("/save", Line::Wrong("/save lacks a file".to_owned())),
            ("/clear", Line::Clear),
            ("/exit", Line::Exit),
            ("/quit", Line::Exit),
            ("/bin/sh", Line::Wrong("there is no command /bin/sh; /help lists them".to_owned())),
        ] {
            assert_eq!(parse(line), expected, "{line}");
        }
    }
}
