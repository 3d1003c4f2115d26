//! Numbers over a run's steps as TensorBoard reads them.
//!
//! An event file is a sequence of TFRecords, each of which holds an `Event` in the wire format of Protocol Buffers
//! (`tensorboard/compat/proto/event.proto`). Files are only appended to: a run that goes on writes another one, whose
//! beginning tells readers to forget the steps that are done again.

use crc::{CRC_32_ISCSI, Crc};
use models::checkpoint::FileError;
use models::checkpoint::writer::create_dir;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// CRC-32C (Castagnoli).
const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// An event file that is being written.
pub struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// A new file in `dir`, for the steps after `done`.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn create(dir: &Path, done: usize) -> Result<EventFile, FileError> {
        create_dir(dir)?;
        let time = wall_time();
        // readers know the files by `tfevents`, and go through them in the order of their names
        let name = format!("events.out.tfevents.{:010}.{:09}.wen", time as u64, (time.fract() * 1e9) as u32);
        let path = dir.join(name);
        let file = File::options().append(true).create_new(true).open(&path);
        let file = file.map_err(|source| FileError::Write { path: path.clone(), source })?;
        let mut events = EventFile { path, file };
        events.append(&event(time, 0, 3, b"brain.Event:2"))?;
        if done > 0 {
            // a `SessionLog` that starts at a step ends what other files have from there on
            events.append(&event(time, done + 1, 7, &Message::default().varint(1, 1).0))?;
        }
        Ok(events)
    }

    /// Writes the values of step `step` by their names.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn write(&mut self, step: usize, values: &[(&str, f64)]) -> Result<(), FileError> {
        self.append(&event(wall_time(), step, 5, &summary(values)))
    }

    fn append(&mut self, event: &[u8]) -> Result<(), FileError> {
        let written = self.file.write_all(&record(event));
        written.map_err(|source| FileError::Write { path: self.path.clone(), source })
    }
}

fn wall_time() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// A TFRecord: length, its checksum, data, its checksum.
fn record(data: &[u8]) -> Vec<u8> {
    let len = (data.len() as u64).to_le_bytes();
    let mut record = Vec::with_capacity(data.len() + 16);
    record.extend(len);
    record.extend(masked_crc(&len).to_le_bytes());
    record.extend(data);
    record.extend(masked_crc(data).to_le_bytes());
    record
}

/// Checksums are masked, since those of data that hold checksums of their own are weak (as LevelDB explains).
fn masked_crc(data: &[u8]) -> u32 {
    CRC.checksum(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// `Event { wall_time = 1, step = 2, <field> = content }`.
fn event(wall_time: f64, step: usize, field: u32, content: &[u8]) -> Vec<u8> {
    Message::default().double(1, wall_time).varint(2, step as u64).bytes(field, content).0
}

/// `Summary { value = 1: Value { tag = 1, simple_value = 2 } }`.
fn summary(values: &[(&str, f64)]) -> Vec<u8> {
    let values = values.iter().fold(Message::default(), |all, (tag, value)| {
        all.bytes(1, &Message::default().bytes(1, tag.as_bytes()).float(2, *value as f32).0)
    });
    values.0
}

/// A message of Protocol Buffers: fields, each behind its number and the kind of its value.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn key(self, field: u32, kind: u8) -> Message {
        self.number(u64::from(field << 3) | u64::from(kind))
    }

    /// Seven bits a byte, the lowest first; all bytes but the last have their highest bit set.
    fn number(mut self, mut number: u64) -> Message {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
        self
    }

    fn varint(self, field: u32, value: u64) -> Message {
        self.key(field, 0).number(value)
    }

    fn double(self, field: u32, value: f64) -> Message {
        self.key(field, 1).raw(&value.to_le_bytes())
    }

    fn bytes(self, field: u32, value: &[u8]) -> Message {
        self.key(field, 2).number(value.len() as u64).raw(value)
    }

    fn float(self, field: u32, value: f32) -> Message {
        self.key(field, 5).raw(&value.to_le_bytes())
    }

    fn raw(mut self, bytes: &[u8]) -> Message {
        self.0.extend_from_slice(bytes);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    #[test]
    fn checksums_are_those_of_the_standard() {
        // RFC 3720, appendix B.4
        assert_eq!(CRC.checksum(&[0; 32]), 0x8a91_36aa);
        assert_eq!(CRC.checksum(&[0xff; 32]), 0x62a8_ab43);
    }

    #[test]
    fn an_event_is_what_tensorboard_writes() {
        // what `RecordWriter` of tensorboard 2.21 writes of `Event(wall_time=1.5, step=300, summary=...)`
        let expected = "1b000000000000001a0d9e13\
            09000000000000f83f10ac022a0d0a0b0a046c6f7373150000803e\
            9908deed";
        let event = event(1.5, 300, 5, &summary(&[("loss", 0.25)]));
        assert_eq!(hex(&record(&event)), expected);
    }

    #[test]
    fn a_run_that_goes_on_ends_the_steps_that_it_does_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut events = EventFile::create(dir.path(), 7).unwrap();
        events.write(8, &[("loss", 1.0)]).unwrap();
        let bytes = std::fs::read(&events.path).unwrap();
        let mut rest = &bytes[..];
        let mut found = Vec::new();
        while let Some((len, after)) = rest.split_first_chunk::<8>() {
            let len = u64::from_le_bytes(*len) as usize;
            let data = &after[4..4 + len];
            assert_eq!(rest[..len + 16], record(data));
            // behind the time: the step, and the number of the field
            found.push((data[10], data[11] >> 3));
            rest = &rest[len + 16..];
        }
        assert_eq!(found, [(0, 3), (8, 7), (8, 5)]);
    }
}
