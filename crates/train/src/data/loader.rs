//! Reads files into items, and remembers all that is to be said about them.

use super::fault::{DataError, LineFault, Place};
use super::files::{FileKind, expand};
use super::forms::{self, Fields};
use super::prepare::{Digest128, Found, Prepared, Unread, prepare};
use super::{Findings, Item, Language, Repeat, json_array, parquet};
use crate::limits::{
    MAX_EXAMPLES, MAX_FAULTS_IN_MESSAGE, MAX_FILE_BYTES, MAX_LINE_BYTES, PREPARED_AT_ONCE, PREPARED_BYTES,
};
use models::lines::Lines;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Reads one list of files after another.
pub(super) struct Loader<'a> {
    language: &'a Language<'a>,
    /// Whether what is read is to be learned, not evaluated.
    learned: bool,
    findings: Findings,
    /// What has been read and not prepared, and how many bytes of text that has.
    waiting: Vec<Found>,
    waiting_bytes: usize,
    /// Where each example was first, as it is and in its letters and digits alone.
    exact: HashMap<Digest128, Place>,
    normal: HashMap<Digest128, Place>,
    /// Items so far.
    count: usize,
    faults: Vec<(Place, LineFault)>,
    fault_count: usize,
}

impl<'a> Loader<'a> {
    pub(super) fn new(language: &'a Language<'a>) -> Loader<'a> {
        Loader {
            language,
            learned: true,
            findings: Findings::default(),
            waiting: Vec::new(),
            waiting_bytes: 0,
            exact: HashMap::new(),
            normal: HashMap::new(),
            count: 0,
            faults: Vec::new(),
            fault_count: 0,
        }
    }

    /// What is read from here on is evaluated, and should not be among what was read before.
    pub(super) fn evaluation(&mut self) {
        self.learned = false;
    }

    /// What was found besides the items, unless some line can't be used.
    pub(super) fn finish(self) -> Result<Findings, DataError> {
        match self.fault_count {
            0 => Ok(self.findings),
            count => Err(DataError::Faults { first: self.faults, count }),
        }
    }

    /// The items of files, directories and patterns.
    pub(super) fn read<T: Item>(&mut self, paths: &[PathBuf]) -> Result<Vec<T>, DataError> {
        let mut items = Vec::new();
        let (too_long, faults) = (self.findings.too_long.len(), self.fault_count);
        for (path, kind) in expand(paths)? {
            match kind {
                FileKind::Lines => self.lines(&path, &mut items)?,
                FileKind::Array => self.array(&path, &mut items)?,
                FileKind::Text => self.text(&path, &mut items)?,
                FileKind::Parquet => parquet::rows(&path, &forms::known_keys::<T>(), |row, fields| {
                    let place = Place { path: path.as_path().into(), line: row };
                    self.found((place, fields.map(Unread::Row)), &mut items)
                })?,
            }
            self.findings.files.push(path);
        }
        self.prepare(&mut items)?;
        if items.is_empty() && !paths.is_empty() && self.fault_count == faults {
            let files: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
            return Err(DataError::Empty {
                files: files.join(", "),
                max_tokens: self.language.max_tokens,
                too_long: self.findings.too_long.len() - too_long,
            });
        }
        Ok(items)
    }

    /// A JSON object a line.
    fn lines<T: Item>(&mut self, path: &Path, items: &mut Vec<T>) -> Result<(), DataError> {
        let failed = |source| DataError::File { path: path.to_owned(), source };
        let mut lines = Lines::open(path, MAX_LINE_BYTES).map_err(failed)?;
        let shared: Arc<Path> = path.into();
        while let Some(line) = lines.next_line().map_err(failed)? {
            let place = Place { path: shared.clone(), line: line.number };
            match line.bytes.ok_or(LineFault::TooLong).map(std::str::from_utf8) {
                Ok(Ok(text)) => self.object(place, text, items)?,
                Ok(Err(_)) => self.found((place, Err(LineFault::Utf8)), items)?,
                Err(fault) => self.found((place, Err(fault)), items)?,
            }
        }
        Ok(())
    }

    /// An array of JSON objects; what does not begin as one is taken as lines.
    fn array<T: Item>(&mut self, path: &Path, items: &mut Vec<T>) -> Result<(), DataError> {
        let Some(text) = self.whole(path, items)? else { return Ok(()) };
        let text = text.trim_start_matches('\u{feff}');
        if !text.trim_start().starts_with('[') {
            return self.lines(path, items);
        }
        let shared: Arc<Path> = path.into();
        match json_array::elements(text) {
            Ok(elements) => elements.into_iter().try_for_each(|(line, element)| {
                self.object(Place { path: shared.clone(), line }, element, items)
            }),
            Err(line) => {
                let fault =
                    LineFault::Json("the array that the file begins with does not end here".to_owned());
                self.found((Place { path: shared, line }, Err(fault)), items)
            }
        }
    }

    /// One text.
    fn text<T: Item>(&mut self, path: &Path, items: &mut Vec<T>) -> Result<(), DataError> {
        let Some(text) = self.whole(path, items)? else { return Ok(()) };
        let fields = Fields::from_iter([("text".to_owned(), text.into())]);
        self.found((Place { path: path.into(), line: 1 }, Ok(Unread::Row(fields))), items)
    }

    /// A file's text; `None` where it is none, which is a fault.
    fn whole<T: Item>(&mut self, path: &Path, items: &mut Vec<T>) -> Result<Option<String>, DataError> {
        let failed = |source| DataError::File { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        if bytes > MAX_FILE_BYTES {
            return Err(DataError::TooLarge { path: path.to_owned(), bytes });
        }
        let mut content = Vec::new();
        // it may grow while it is read
        (&mut file).take(MAX_FILE_BYTES).read_to_end(&mut content).map_err(failed)?;
        match String::from_utf8(content) {
            Ok(text) => Ok(Some(text)),
            Err(error) => {
                let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
                let line = 1 + valid.iter().filter(|byte| **byte == b'\n').count();
                self.found((Place { path: path.into(), line }, Err(LineFault::Utf8)), items)?;
                Ok(None)
            }
        }
    }

    fn object<T: Item>(&mut self, place: Place, text: &str, items: &mut Vec<T>) -> Result<(), DataError> {
        // editors on Windows begin files with a byte order mark
        let text = if place.line == 1 { text.trim_start_matches('\u{feff}') } else { text };
        if text.trim().is_empty() {
            return Ok(());
        }
        self.found((place, Ok(Unread::Line(text.to_owned()))), items)
    }

    /// Takes what stands at a place, which is prepared together with others.
    fn found<T: Item>(&mut self, found: Found, items: &mut Vec<T>) -> Result<(), DataError> {
        self.waiting_bytes += found.1.as_ref().map_or(0, Unread::bytes);
        self.waiting.push(found);
        match self.waiting.len() >= PREPARED_AT_ONCE || self.waiting_bytes >= PREPARED_BYTES {
            true => self.prepare(items),
            false => Ok(()),
        }
    }

    /// Prepares what waits, and takes it in its order.
    fn prepare<T: Item>(&mut self, items: &mut Vec<T>) -> Result<(), DataError> {
        self.waiting_bytes = 0;
        let waiting = std::mem::take(&mut self.waiting);
        for (place, outcome) in prepare(waiting, self.language).map_err(DataError::Thread)? {
            match outcome {
                Ok(prepared) => prepared.into_iter().try_for_each(|one| self.add(&place, one, items))?,
                Err(fault) => self.fault(place, fault),
            }
        }
        Ok(())
    }

    fn add<T: Item>(
        &mut self,
        place: &Place,
        prepared: Prepared<T>,
        items: &mut Vec<T>,
    ) -> Result<(), DataError> {
        let Prepared { item, exact, normal } = prepared;
        if item.sequences().iter().any(|example| example.tokens().len() > self.language.max_tokens) {
            self.findings.too_long.push(place.clone());
            return Ok(());
        }
        if self.count == MAX_EXAMPLES {
            return Err(DataError::TooMany);
        }
        self.count += 1;
        self.compare(place, (exact, normal));
        items.push(item);
        Ok(())
    }

    /// Remembers an example, and says where it was before.
    fn compare(&mut self, place: &Place, (exact, normal): (Digest128, Digest128)) {
        let exact = first_place(&mut self.exact, exact, place);
        let normal = first_place(&mut self.normal, normal, place);
        let (list, of) = match (exact, normal) {
            (Some(of), _) if self.learned => (&mut self.findings.duplicates, of),
            (None, Some(of)) if self.learned => (&mut self.findings.near_duplicates, of),
            (Some(of), _) | (None, Some(of)) => (&mut self.findings.evaluated_and_learned, of),
            (None, None) => return,
        };
        list.push(Repeat { place: place.clone(), of });
    }

    fn fault(&mut self, place: Place, fault: LineFault) {
        if self.faults.len() < MAX_FAULTS_IN_MESSAGE {
            self.faults.push((place, fault));
        }
        self.fault_count += 1;
    }
}

/// Where it was before, if it was.
fn first_place(seen: &mut HashMap<Digest128, Place>, digest: Digest128, place: &Place) -> Option<Place> {
    match seen.entry(digest) {
        Entry::Occupied(entry) => Some(entry.get().clone()),
        Entry::Vacant(entry) => {
            entry.insert(place.clone());
            None
        }
    }
}
