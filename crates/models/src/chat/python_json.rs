//! The filter `tojson` as transformers defines it: Python's `json.dumps` with `ensure_ascii=False`.

use super::limits::{MAX_PROMPT_BYTES, MAX_VALUE_DEPTH};
use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Error, ErrorKind, State};
use serde::Serialize;
use serde_json::ser::{CharEscape, Formatter, Serializer};
use std::io::{self, Write};

/// `value | tojson(ensure_ascii=False, indent=None, separators=None, sort_keys=False)`.
pub(super) fn tojson(state: &State, value: &Value, options: Kwargs) -> Result<Value, Error> {
    let layout = Layout::from_options(&options)?;
    let sort_keys = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    options.assert_all_used()?;
    check_depth(value, MAX_VALUE_DEPTH)?;

    let mut json = Limited(Vec::new());
    let mut serializer = Serializer::with_formatter(&mut json, layout);
    let written = if sort_keys {
        serde_json::to_value(value).and_then(|mut value| {
            value.sort_all_objects();
            value.serialize(&mut serializer)
        })
    } else {
        value.serialize(&mut serializer)
    };
    written.map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))?;
    state.consume_fuel(json.0.len() as u64 / 64)?;
    let text = String::from_utf8(json.0)
        .map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))?;
    Ok(Value::from(text))
}

/// Refuses what Python cannot write either, and values nested too deeply to be walked.
fn check_depth(value: &Value, levels: usize) -> Result<(), Error> {
    if value.is_undefined() {
        return Err(Error::new(ErrorKind::BadSerialization, "an undefined value cannot be written as JSON"));
    }
    if !matches!(value.kind(), ValueKind::Map | ValueKind::Seq | ValueKind::Iterable) {
        return Ok(());
    }
    let Some(levels) = levels.checked_sub(1) else {
        return Err(Error::new(
            ErrorKind::BadSerialization,
            format!("a value has more than {MAX_VALUE_DEPTH} levels"),
        ));
    };
    let is_map = value.kind() == ValueKind::Map;
    for item in value.try_iter()? {
        check_depth(&if is_map { value.get_item(&item)? } else { item }, levels)?;
    }
    Ok(())
}

/// A buffer that takes no more than a prompt may have.
struct Limited(Vec<u8>);

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_PROMPT_BYTES {
            return Err(io::Error::other(format!("JSON of more than {MAX_PROMPT_BYTES} bytes")));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Python's separators, indentation and numbers.
struct Layout {
    indent: Option<String>,
    item_separator: String,
    key_separator: String,
    ensure_ascii: bool,
    level: usize,
    has_items: bool,
}

impl Layout {
    fn from_options(options: &Kwargs) -> Result<Layout, Error> {
        let indent = match options.get::<Option<Value>>("indent")? {
            None => None,
            Some(indent) if indent.is_none() => None,
            Some(indent) => Some(match indent.as_str() {
                Some(text) => text.chars().take(64).collect(),
                None => " ".repeat(i64::try_from(indent)?.clamp(0, 64) as usize),
            }),
        };
        let mut separators = [if indent.is_some() { "," } else { ", " }.to_string(), ": ".to_string()];
        if let Some(given) = options.get::<Option<Vec<String>>>("separators")? {
            separators = given.try_into().map_err(|_| {
                Error::new(ErrorKind::InvalidOperation, "tojson: separators must be two texts")
            })?;
        }
        let [item_separator, key_separator] = separators;
        let ensure_ascii = options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false);
        Ok(Layout { indent, item_separator, key_separator, ensure_ascii, level: 0, has_items: false })
    }

    fn open<W: ?Sized + Write>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.level += 1;
        self.has_items = false;
        writer.write_all(bracket)
    }

    fn close<W: ?Sized + Write>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.level -= 1;
        if self.has_items {
            self.new_line(writer)?;
        }
        self.has_items = true;
        writer.write_all(bracket)
    }

    fn begin_item<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if !first {
            writer.write_all(self.item_separator.as_bytes())?;
        }
        self.new_line(writer)
    }

    fn new_line<W: ?Sized + Write>(&self, writer: &mut W) -> io::Result<()> {
        let Some(indent) = &self.indent else { return Ok(()) };
        writer.write_all(b"\n")?;
        (0..self.level).try_for_each(|_| writer.write_all(indent.as_bytes()))
    }
}

impl Formatter for Layout {
    fn write_f64<W: ?Sized + Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        writer.write_all(python_float(value).as_bytes())
    }

    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        if !self.ensure_ascii || fragment.is_ascii() {
            return writer.write_all(fragment.as_bytes());
        }
        for c in fragment.chars() {
            if c.is_ascii() {
                writer.write_all(&[c as u8])?;
            } else {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            }
        }
        Ok(())
    }

    fn write_char_escape<W: ?Sized + Write>(&mut self, writer: &mut W, escape: CharEscape) -> io::Result<()> {
        match escape {
            CharEscape::Quote => writer.write_all(b"\\\""),
            CharEscape::ReverseSolidus => writer.write_all(b"\\\\"),
            CharEscape::Solidus => writer.write_all(b"/"),
            CharEscape::Backspace => writer.write_all(b"\\b"),
            CharEscape::FormFeed => writer.write_all(b"\\f"),
            CharEscape::LineFeed => writer.write_all(b"\\n"),
            CharEscape::CarriageReturn => writer.write_all(b"\\r"),
            CharEscape::Tab => writer.write_all(b"\\t"),
            CharEscape::AsciiControl(byte) => write!(writer, "\\u{byte:04x}"),
        }
    }

    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b"[")
    }

    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"]")
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.begin_item(writer, first)
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, _writer: &mut W) -> io::Result<()> {
        self.has_items = true;
        Ok(())
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b"{")
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"}")
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.begin_item(writer, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(self.key_separator.as_bytes())
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, _writer: &mut W) -> io::Result<()> {
        self.has_items = true;
        Ok(())
    }
}

/// `repr` of a Python float: the shortest digits that give it back, with an exponent from 1e16 on and below 1e-4.
pub(super) fn python_float(value: f64) -> String {
    let magnitude = value.abs();
    if value.is_finite() && magnitude != 0.0 && !(1e-4..1e16).contains(&magnitude) {
        let text = format!("{value:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        return match exponent.strip_prefix('-') {
            Some(exponent) => format!("{digits}e-{exponent:0>2}"),
            None => format!("{digits}e+{exponent:0>2}"),
        };
    }
    let text = value.to_string();
    if !value.is_finite() || text.contains('.') { text } else { format!("{text}.0") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use minijinja::Environment;

    fn dumps(options: &str, json: &str) -> String {
        let mut env = Environment::new();
        env.add_filter("tojson", tojson);
        let value: serde_json::Value = serde_json::from_str(json).unwrap();
        let source = format!("{{{{ x | tojson{options} }}}}");
        env.render_str(&source, minijinja::context! { x => minijinja::value::Serde(value) }).unwrap()
    }

    // expected texts printed by Python 3.11's json.dumps(x, ensure_ascii=False)
    #[test]
    fn json_is_written_as_python_writes_it() {
        for (json, expected) in [
            (r#"{"b":1,"a":[1,2.0,-0.5],"c":{}}"#, r#"{"b": 1, "a": [1, 2.0, -0.5], "c": {}}"#),
            (
                r#"["é<>&'\"\\\n\u0001\u007f/","北京",true,null,[]]"#,
                "[\"é<>&'\\\"\\\\\\n\\u0001\u{7f}/\", \"北京\", true, null, []]",
            ),
            (
                "[1e16,1e15,123456789.123,1e-4,0.00001,1.5e-7,1e300,0.1,-0.0,12345678901234567890]",
                "[1e+16, 1000000000000000.0, 123456789.123, 0.0001, 1e-05, 1.5e-07, 1e+300, 0.1, -0.0, 12345678901234567890]",
            ),
        ] {
            assert_eq!(dumps("", json), expected);
        }
    }

    #[test]
    fn options_of_json_dumps_are_honoured() {
        let json = r#"{"b":[1,{"x":[]}],"a":"é😀"}"#;
        for (options, expected) in [
            ("(indent=2)", "{\n  \"b\": [\n    1,\n    {\n      \"x\": []\n    }\n  ],\n  \"a\": \"é😀\"\n}"),
            (
                "(indent='\t')",
                "{\n\t\"b\": [\n\t\t1,\n\t\t{\n\t\t\t\"x\": []\n\t\t}\n\t],\n\t\"a\": \"é😀\"\n}",
            ),
            ("(indent=none)", r#"{"b": [1, {"x": []}], "a": "é😀"}"#),
            ("(ensure_ascii=true)", r#"{"b": [1, {"x": []}], "a": "\u00e9\ud83d\ude00"}"#),
            ("(separators=(',', ':'))", r#"{"b":[1,{"x":[]}],"a":"é😀"}"#),
            ("(sort_keys=true)", r#"{"a": "é😀", "b": [1, {"x": []}]}"#),
        ] {
            assert_eq!(dumps(options, json), expected, "{options}");
        }
    }
}
