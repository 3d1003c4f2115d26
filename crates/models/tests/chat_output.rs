//! Answers are split into the same parts however their text arrives.

use models::chat::{OutputDelta, OutputParser};
use proptest::prelude::*;

/// An answer put together again.
#[derive(Debug, Default, PartialEq, Eq)]
struct Parts {
    reasoning: String,
    content: String,
    calls: Vec<(String, String)>,
}

fn parts(pieces: impl IntoIterator<Item: AsRef<str>>, in_thinking: bool, tools: bool) -> Parts {
    let mut parser = OutputParser::new(in_thinking, tools);
    let mut parts = Parts::default();
    let mut take = |deltas: Vec<OutputDelta>| {
        for delta in deltas {
            match delta {
                OutputDelta::Reasoning(text) => parts.reasoning += &text,
                OutputDelta::Content(text) => parts.content += &text,
                OutputDelta::ToolCall { index, name } => {
                    assert_eq!(index, parts.calls.len());
                    parts.calls.push((name, String::new()));
                }
                OutputDelta::Arguments { index, text } => parts.calls[index].1 += &text,
            }
        }
    };
    for piece in pieces {
        take(parser.push(piece.as_ref()));
    }
    take(parser.finish());
    parts
}

/// Answer, whether the prompt opened the thinking, whether there are tools; then reasoning, content and calls.
type Case<'a> = (&'a str, bool, bool, &'a str, &'a str, &'a [(&'a str, &'a str)]);

const WEATHER: (&str, &str) = ("weather", r#"{"city": "杭州"}"#);

const CASES: &[Case] = &[
    ("Hello", false, false, "", "Hello", &[]),
    ("  Hello\n", false, true, "", "  Hello\n", &[]),
    ("<think>\nhm\n</think>\n\nHello", false, false, "hm", "Hello", &[]),
    ("hm\n</think>\n\n  Hello", true, false, "hm", "  Hello", &[]),
    ("cut while thin", true, false, "cut while thin", "", &[]),
    ("a < b </thin", true, false, "a < b </thin", "", &[]),
    // only the beginning of an answer opens reasoning
    ("Write <think>x</think>", false, false, "", "Write <think>x</think>", &[]),
    ("<thinking>", false, false, "", "<thinking>", &[]),
    ("<tool_call>\n{}\n</tool_call>", false, false, "", "<tool_call>\n{}\n</tool_call>", &[]),
    (
        "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"杭州\"}}\n</tool_call>",
        false,
        true,
        "",
        "",
        &[WEATHER],
    ),
    (
        "<think>\nask\n</think>\n\nLet me see.\n<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"杭州\"}}\n</tool_call>\n<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>",
        false,
        true,
        "ask",
        "Let me see.",
        &[WEATHER, ("f", "{}")],
    ),
    // brackets and tags in strings
    (
        r#"<tool_call>{"name":"f","arguments":{"a":"} \" ]</tool_call>","b":[{}]}}</tool_call>"#,
        false,
        true,
        "",
        "",
        &[("f", r#"{"a":"} \" ]</tool_call>","b":[{}]}"#)],
    ),
    // another order, arguments as a string, none
    (
        r#"<tool_call>{"arguments":{"a":1},"name":"f"}</tool_call>"#,
        false,
        true,
        "",
        "",
        &[("f", r#"{"a":1}"#)],
    ),
    (
        r#"<tool_call>{"name":"f","arguments":"{\"a\":1}"}</tool_call>"#,
        false,
        true,
        "",
        "",
        &[("f", r#"{"a":1}"#)],
    ),
    (r#"<tool_call>{"name":"f"}</tool_call>"#, false, true, "", "", &[("f", "{}")]),
    // the closing tag is missing
    (r#"<tool_call>{"name":"f","arguments":{"a":1}}"#, false, true, "", "", &[("f", r#"{"a":1}"#)]),
    (r#"<tool_call>{"arguments":{},"name":"f"}"#, false, true, "", "", &[("f", "{}")]),
    (
        r#"<tool_call>{"name":"f","arguments":{"a":1}} Done."#,
        false,
        true,
        "",
        "Done.",
        &[("f", r#"{"a":1}"#)],
    ),
    // cut in the arguments
    (r#"<tool_call>{"name":"f","arguments":{"a":"#, false, true, "", "", &[("f", r#"{"a":"#)]),
    // no calls at all
    ("<tool_call>\nnot json\n</tool_call>!", false, true, "", "<tool_call>\nnot json\n</tool_call>!", &[]),
    (r#"<tool_call>{"name":1}</tool_call>"#, false, true, "", r#"<tool_call>{"name":1}</tool_call>"#, &[]),
    (r#"<tool_call>{"name":"f","arg"#, false, true, "", r#"<tool_call>{"name":"f","arg"#, &[]),
    ("a\n<tool_ca", false, true, "", "a\n<tool_ca", &[]),
];

#[test]
fn answers_are_split_into_their_parts() {
    for &(answer, in_thinking, tools, reasoning, content, calls) in CASES {
        let calls =
            calls.iter().map(|(name, arguments)| ((*name).to_owned(), (*arguments).to_owned())).collect();
        let expected = Parts { reasoning: reasoning.to_owned(), content: content.to_owned(), calls };
        assert_eq!(parts([answer], in_thinking, tools), expected, "{answer}");
    }
}

#[test]
fn the_parts_do_not_depend_on_how_the_text_arrives() {
    for &(answer, in_thinking, tools, ..) in CASES {
        let one_by_one = answer.char_indices().map(|(at, c)| &answer[at..at + c.len_utf8()]);
        assert_eq!(parts(one_by_one, in_thinking, tools), parts([answer], in_thinking, tools), "{answer}");
    }
}

#[test]
fn text_is_passed_on_as_soon_as_it_cannot_become_a_tag() {
    let mut parser = OutputParser::new(false, true);
    assert_eq!(parser.push("Hi"), [OutputDelta::Content("Hi".into())]);
    assert_eq!(parser.push(" <tool"), [OutputDelta::Content(" ".into())]);
    assert_eq!(parser.push("box>"), [OutputDelta::Content("<toolbox>".into())]);
    assert_eq!(parser.push(r#"<tool_call>{"name": "f", "arguments": {"#).len(), 2);
    assert_eq!(parser.push(r#""a": "#), [OutputDelta::Arguments { index: 0, text: r#""a": "#.into() }]);
}

proptest! {
    #[test]
    fn any_mixture_of_tags_and_text_is_split_the_same_way_in_any_pieces(
        words in prop::collection::vec(prop::sample::select(vec![
            "<think>", "</think>", "<tool_call>", "</tool_call>", "\n", " ", "问", "\"", "\\", "{", "}",
            "{\"name\": \"f\", \"arguments\": {", "<", "a",
        ]), 0..24),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        in_thinking: bool,
        tools: bool,
    ) {
        let answer = words.concat();
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(answer.len() + 1)).collect();
        at.retain(|&at| answer.is_char_boundary(at));
        at.extend([0, answer.len()]);
        at.sort_unstable();
        let pieces = at.windows(2).map(|pair| &answer[pair[0]..pair[1]]);
        prop_assert_eq!(parts(pieces, in_thinking, tools), parts([&answer], in_thinking, tools));
    }
}
