//! The elements of a JSON array, each by itself: one that is broken has its line and does not hide the others.

/// The elements of the array `text` with the line, from 1, on which each begins. `Err` says on which line it ends to be an
/// array.
pub(super) fn elements(text: &str) -> Result<Vec<(usize, &str)>, usize> {
    let bytes = text.as_bytes();
    let (mut found, mut line) = (Vec::new(), 1);
    // depth 1 is the array's own; where the element that is being read begins, and on which line
    let (mut depth, mut begin, mut begin_line) = (0usize, 0, 1);
    let (mut in_string, mut escaped) = (false, false);
    for (at, &byte) in bytes.iter().enumerate() {
        line += usize::from(byte == b'\n');
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = byte == b'\\' && !escaped;
            continue;
        }
        match byte {
            _ if byte.is_ascii_whitespace() => continue,
            b'[' if depth == 0 && found.is_empty() => {
                (depth, begin) = (1, at + 1);
                continue;
            }
            _ if depth == 0 => return Err(line),
            b']' | b',' if depth == 1 => {
                let element = text[begin..at].trim_ascii();
                // `[]`, but not `[1,]`
                if !element.is_empty() || byte == b',' || !found.is_empty() {
                    found.push((begin_line, element));
                }
                (depth, begin) = (usize::from(byte == b','), at + 1);
                continue;
            }
            _ => {}
        }
        if depth == 1 && text[begin..at].trim_ascii().is_empty() {
            begin_line = line;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
    }
    // an array that was closed leaves nothing open
    let closed = depth == 0 && begin > 0;
    if closed { Ok(found) } else { Err(line) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_element_has_its_line() {
        let text = "[\n  {\"a\": \"]},{\\\"\"},\n\n  {\"b\": [1, {\"c\": 2}]}, 3\n]\n";
        let expected = [(2, "{\"a\": \"]},{\\\"\"}"), (4, "{\"b\": [1, {\"c\": 2}]}"), (4, "3")];
        assert_eq!(elements(text).unwrap(), expected);
        assert_eq!(elements(" [ ] ").unwrap(), []);
        assert_eq!(elements("[1,]").unwrap(), [(1, "1"), (1, "")]);
    }

    #[test]
    fn what_is_no_array_ends_somewhere() {
        for (text, line) in
            [("", 1), ("{}", 1), ("[\n1", 2), ("[1]\n2", 2), ("[\"", 1), ("[[1]", 1), ("[1]]", 1)]
        {
            assert_eq!(elements(text), Err(line), "{text:?}");
        }
    }
}
