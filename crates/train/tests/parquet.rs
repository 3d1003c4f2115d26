//! Datasets in Parquet files, as pyarrow writes them.

mod common;

use common::fixture;
use models::Model;
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use train::Example;
use train::data::{self, DataError, Datasets, Language};
use train::recipe::Data;

/// The values of a column with their definition and repetition levels.
enum Column<'a> {
    Texts(&'a [&'a str], &'a [i16], &'a [i16]),
    Numbers(&'a [i64]),
}

fn write(path: &Path, schema: &str, compression: Compression, columns: &[Column<'_>]) {
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let properties = Arc::new(WriterProperties::builder().set_compression(compression).build());
    let mut writer =
        SerializedFileWriter::new(std::fs::File::create(path).unwrap(), schema, properties).unwrap();
    let mut group = writer.next_row_group().unwrap();
    for column in columns {
        let mut to = group.next_column().unwrap().unwrap();
        match column {
            Column::Texts(values, definitions, repetitions) => {
                let values: Vec<ByteArray> = values.iter().map(|text| ByteArray::from(*text)).collect();
                let levels = (!definitions.is_empty()).then_some(*definitions);
                let repeats = (!repetitions.is_empty()).then_some(*repetitions);
                to.typed::<ByteArrayType>().write_batch(&values, levels, repeats).unwrap();
            }
            Column::Numbers(values) => {
                to.typed::<Int64Type>().write_batch(values, None, None).unwrap();
            }
        }
        to.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
}

struct Setup {
    model: Model,
    dir: tempfile::TempDir,
}

impl Setup {
    fn new() -> Setup {
        let model = Model::open(&fixture("qwen3-train-base")).unwrap_or_else(|e| panic!("{e}"));
        Setup { model, dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("a.parquet")
    }

    fn load(&self) -> Result<Datasets<Example>, DataError> {
        let language = Language {
            tokenizer: &self.model.tokenizer,
            template: self.model.chat_template.as_ref(),
            end: self.model.tokenizer.token_id("<|endoftext|>"),
            max_tokens: 1000,
        };
        data::load(&Data { train: vec![self.path()], ..Data::default() }, 1, &language)
    }

    fn texts(&self) -> Vec<String> {
        let read = self.load().unwrap_or_else(|e| panic!("{e}"));
        read.train.iter().map(|e| self.model.tokenizer.decode(e.tokens(), false)).collect()
    }
}

const TEXTS: &str = "message schema { required int64 id; optional binary text (UTF8); }";

#[test]
fn rows_are_lines_in_every_compression_that_is_read() {
    let setup = Setup::new();
    for compression in [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(Default::default()),
        Compression::LZ4_RAW,
    ] {
        let columns = [Column::Numbers(&[1, 2]), Column::Texts(&["one", "二"], &[1, 1], &[])];
        write(&setup.path(), TEXTS, compression, &columns);
        assert_eq!(setup.texts(), ["one<|endoftext|>", "二<|endoftext|>"], "{compression:?}");
    }
}

#[test]
fn lists_of_messages_are_conversations() {
    let setup = Setup::new();
    let schema = "message schema {
        optional group messages (LIST) {
            repeated group list {
                optional group element {
                    optional binary role (UTF8);
                    optional binary content (UTF8);
                    optional binary name (UTF8);
                }
            }
        }
    }";
    // one row of two messages, and a column that is null in both
    let full: &[i16] = &[4, 4];
    let columns = [
        Column::Texts(&["user", "assistant"], full, &[0, 1]),
        Column::Texts(&["Hi", "Hello!"], full, &[0, 1]),
        Column::Texts(&[], &[3, 3], &[0, 1]),
    ];
    write(&setup.path(), schema, Compression::SNAPPY, &columns);
    let texts = setup.texts();
    assert_eq!(texts.len(), 1);
    assert!(texts[0].starts_with("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"), "{texts:?}");
    assert!(texts[0].ends_with("Hello!<|im_end|>\n"), "{texts:?}");
}

#[test]
fn faults_have_their_rows() {
    let setup = Setup::new();
    let error = || setup.load().unwrap_err().to_string();
    let columns = [Column::Numbers(&[1, 2, 3]), Column::Texts(&["one", ""], &[1, 1, 0], &[])];
    write(&setup.path(), TEXTS, Compression::SNAPPY, &columns);
    let said = error();
    assert!(said.contains("a.parquet, row 2: `text` is empty"), "{said}");
    assert!(said.contains("a.parquet, row 3: its keys are none, which is no known form"), "{said}");
    let other = "message schema { required int64 id; }";
    write(&setup.path(), other, Compression::SNAPPY, &[Column::Numbers(&[1])]);
    assert!(error().contains("its columns are id; there must be some of"), "{}", error());
}

#[test]
fn a_broken_file_is_refused_and_never_the_end() {
    let setup = Setup::new();
    let columns = [Column::Numbers(&[1, 2]), Column::Texts(&["one", "two"], &[1, 1], &[])];
    write(&setup.path(), TEXTS, Compression::SNAPPY, &columns);
    let whole = std::fs::read(setup.path()).unwrap();
    for len in [0, 4, whole.len() / 2, whole.len() - 1] {
        std::fs::write(setup.path(), &whole[..len]).unwrap();
        let error = setup.load().unwrap_err().to_string();
        assert!(error.contains("a.parquet, row 1: it can't be read"), "{error}");
    }
    // each byte changed: another text, or words about it
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        std::fs::write(setup.path(), bytes).unwrap();
        drop(setup.load());
    }
}
