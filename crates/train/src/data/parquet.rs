//! Rows of Parquet files as JSON objects.

use super::forms::Fields;
use super::{DataError, LineFault};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};
use parquet::schema::types::Type;
use serde_json::{Map, Value};
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

/// Calls `row` with the columns among `known` of each row, from 1. Columns that nobody reads stay where they are: they may
/// be images. A null is as a key that isn't there, since tables have every column in every row.
pub(super) fn rows<E: From<DataError>>(
    path: &Path,
    known: &[&str],
    mut row: impl FnMut(usize, Result<Fields, LineFault>) -> Result<(), E>,
) -> Result<(), E> {
    let failed = |source| DataError::File { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let opened = guarded(|| SerializedFileReader::new(file));
    let reader = match opened {
        Ok(reader) => reader,
        Err(fault) => return row(1, Err(fault)),
    };
    let schema = reader.metadata().file_metadata().schema();
    let columns = schema.get_fields().iter().filter(|column| known.contains(&column.name()));
    let columns: Vec<Arc<Type>> = columns.cloned().collect();
    if columns.is_empty() {
        let names: Vec<&str> = schema.get_fields().iter().map(|column| column.name()).collect();
        let what =
            format!("its columns are {}; there must be some of {}", names.join(", "), known.join(", "));
        return row(1, Err(LineFault::value("columns", what)));
    }
    let projection = Type::group_type_builder(schema.name()).with_fields(columns).build();
    let opened = guarded(|| reader.get_row_iter(Some(projection?)));
    let mut rows = match opened {
        Ok(rows) => rows,
        Err(fault) => return row(1, Err(fault)),
    };
    for number in 1.. {
        match guarded(|| rows.next().transpose()) {
            Ok(None) => break,
            Ok(Some(values)) => row(number, Ok(object(&values)))?,
            // what comes after it can't be told from it
            Err(fault) => return row(number, Err(fault)),
        }
    }
    Ok(())
}

/// What the library gives. It panics at types that it has not implemented and at some broken files, which are no reason to
/// end.
fn guarded<T>(read: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, LineFault> {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(result) => result.map_err(|error| LineFault::Parquet(error.to_string())),
        Err(_) => Err(LineFault::Parquet("the file is broken, or has a type that is not known".to_owned())),
    }
}

fn object(row: &Row) -> Map<String, Value> {
    let columns = row.get_column_iter().filter(|(_, field)| **field != Field::Null);
    columns.map(|(name, field)| (name.clone(), value(field))).collect()
}

fn value(field: &Field) -> Value {
    match field {
        Field::Bool(v) => (*v).into(),
        Field::Byte(v) => (*v).into(),
        Field::Short(v) => (*v).into(),
        Field::Int(v) => (*v).into(),
        Field::Long(v) => (*v).into(),
        Field::UByte(v) => (*v).into(),
        Field::UShort(v) => (*v).into(),
        Field::UInt(v) => (*v).into(),
        Field::ULong(v) => (*v).into(),
        Field::Float(v) => (*v).into(),
        Field::Double(v) => (*v).into(),
        Field::Str(v) => v.as_str().into(),
        // some writers don't say that bytes are a text
        Field::Bytes(v) => v.as_utf8().map_or(Value::Null, Value::from),
        Field::Group(row) => object(row).into(),
        Field::ListInternal(list) => list.elements().iter().map(value).collect(),
        Field::MapInternal(map) => {
            let entries = map.entries().iter().filter_map(|(key, v)| match key {
                Field::Str(key) => Some((key.clone(), value(v))),
                _ => None,
            });
            Value::Object(entries.collect())
        }
        // times and decimals, which no form has
        _ => Value::Null,
    }
}
