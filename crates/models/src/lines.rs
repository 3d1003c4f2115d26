//! Files that are read line by line, whatever is in them.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

/// The lines of a file, of which none is held in memory that is longer than a bound.
pub struct Lines {
    file: BufReader<File>,
    most: usize,
    number: usize,
    bytes: Vec<u8>,
}

/// A line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Its number, from 1.
    pub number: usize,
    /// What is in it, with the line feed at its end; `None` when that is longer than the bound.
    pub bytes: Option<&'a [u8]>,
}

impl Lines {
    /// Opens a file whose lines have `most` bytes at most.
    ///
    /// # Errors
    /// When it can't be opened.
    pub fn open(path: &Path, most: usize) -> io::Result<Lines> {
        Ok(Lines { file: BufReader::new(File::open(path)?), most, number: 0, bytes: Vec::new() })
    }

    /// The next line; `None` at the end. What is left of a line that was too long is passed over.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn next_line(&mut self) -> io::Result<Option<Line<'_>>> {
        self.bytes.clear();
        let read = (&mut self.file).take(self.most as u64 + 1).read_until(b'\n', &mut self.bytes)?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        if read > self.most {
            if !self.bytes.ends_with(b"\n") {
                self.file.skip_until(b'\n')?;
            }
            return Ok(Some(Line { number: self.number, bytes: None }));
        }
        Ok(Some(Line { number: self.number, bytes: Some(&self.bytes) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_are_too_long_are_counted_and_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lines");
        // of 4, 5 and 6 bytes with their ends, where 5 may be; and a last one without an end
        std::fs::write(&path, "abc\nabcd\nabcde\nabcdefghijk\n\nxyz").unwrap();
        let mut lines = Lines::open(&path, 5).unwrap();
        let mut found = Vec::new();
        while let Some(line) = lines.next_line().unwrap() {
            found.push((line.number, line.bytes.map(|b| String::from_utf8(b.to_vec()).unwrap())));
        }
        let expected = [Some("abc\n"), Some("abcd\n"), None, None, Some("\n"), Some("xyz")];
        let expected = expected.into_iter().map(|line| line.map(str::to_owned));
        assert_eq!(found, (1..).zip(expected).collect::<Vec<_>>());
    }
}
